"""The broad lines C IV and Mg II: a sum of Gaussians each, with priors on the shape.

A line is a core, a base about two and a half times as wide, and a third, narrower part that allows the line to be more
peaked than a Gaussian or asymmetric. Base and third part are described by their ratios to the core. The priors on these
ratios describe the usual line of a quasar. At high signal-to-noise they do not matter; at a signal-to-noise of 2 per
pixel they keep three free Gaussians from following the noise.

No narrow component is subtracted, as is usual for C IV and Mg II at these redshifts.
"""

from dataclasses import dataclass

import numpy as np

from quasar_mass.core.constants import C_IV_DOUBLET, C_KM_S, HE_II, MG_II_DOUBLET, O_III
from quasar_mass.virial.bins import BIN, bin_centres
from quasar_mass.virial.optimizer import Priors

# Velocities in this module are in units of 1000 km/s. One bin, a box, adds its variance to a Gaussian's.
_BIN_VARIANCE = (BIN * 1e-4 * np.log(10.0) * C_KM_S * 1e-3) ** 2 / 12.0

# Parameters of a broad line: ln peak, velocity and ln sigma of the core; then, of base and third part each, ln of the
# peak over the core's, distance from the core in units of its sigma, and ln of the sigma over the core's.
PEAK, VELOCITY, SIGMA = 0, 1, 2
N_SHAPE = 9
_PARTS = (None, (3, 4, 5), (6, 7, 8))

# Mean, sd, low, high of those nine. The centres of the ratios follow the usual finding that broad lines are peaked
# (FWHM / line dispersion about 1.5-2 where a Gaussian has 2.35: Peterson et al. 2004, ApJ 613, 682; Wang et al. 2009,
# ApJ 707, 1334); they and their widths are chosen here. The limits of the core's sigma are 350 and 8500 km/s.
_SHAPE = np.array(
    [
        [np.log(0.4), 1.5, -7.0, 4.0],
        [0.0, 1.0, -6.0, 6.0],
        [np.log(1.7), 0.7, np.log(0.35), np.log(8.5)],
        [np.log(0.17), 1.3, np.log(1e-3), np.log(2.0)],
        [0.0, 0.4, -2.0, 2.0],
        [np.log(2.6), 0.3, np.log(1.4), np.log(6.0)],
        [np.log(0.08), 1.2, np.log(1e-3), np.log(3.0)],
        [0.0, 0.4, -2.0, 2.0],
        [np.log(0.45), 0.3, np.log(0.15), np.log(0.9)],
    ]
)
# The same for a weaker line nearby: ln of the peak over the core's, velocity, ln sigma. He II is wide here, since it
# stands for the unidentified emission at 1600 Angstrom as well (Laor et al. 1994, ApJ 420, 110).
_NEARBY = np.array(
    [[np.log(0.15), 1.0, np.log(1e-3), np.log(2.0)], [-0.3, 0.5, -3.0, 3.0], [np.log(4.0), 0.5, 0.0, np.log(8.0)]]
)
# Level and tilt of the continuum in the window, and of iron, as relative corrections to the fit of the whole spectrum.
_LOCAL = np.array([[0.0, 0.03, -0.3, 0.3], [0.0, 0.03, -0.3, 0.3]])
_IRON = np.array([[0.0, 0.3, -1.0, 3.0], [0.0, 0.3, -2.0, 2.0]])


@dataclass(frozen=True)
class Complex:
    """A line, its neighbours, and the window in which it is fitted.

    Attributes
    ----------
    name, label : str
        As in the names of columns, and as in FLAGS and REASON.
    wavelengths : tuple of float
        Vacuum rest wavelengths (Angstrom) of the line's components, of equal strength.
    nearby : tuple of float
        Those of the weaker lines in the window.
    window : tuple of float
        Rest wavelengths (Angstrom) within which it is fitted.
    continuum : float
        Rest wavelength (Angstrom) of the luminosity in the virial relation.
    velocity : tuple of float
        Mean and sd (1000 km/s) of the prior on the core's velocity.
    """

    name: str
    label: str
    wavelengths: tuple[float, ...]
    nearby: tuple[float, ...]
    window: tuple[float, float]
    continuum: float
    velocity: tuple[float, float]

    @property
    def centre(self) -> float:
        """Mean wavelength, at which velocities are 0."""
        return float(np.exp(np.mean(np.log(self.wavelengths))))

    @property
    def bins(self) -> slice:
        """The bins of the window."""
        return slice(*np.searchsorted(bin_centres(), np.log10(self.window)))

    @property
    def bin_velocity(self) -> np.ndarray:
        """Velocity of every bin of the window, 1000 km/s."""
        return 1e-3 * C_KM_S * (np.log(10.0) * bin_centres()[self.bins] - np.log(self.centre))

    @property
    def offsets(self) -> tuple[float, ...]:
        """Velocities of the components."""
        return tuple(1e-3 * C_KM_S * float(np.log(w / self.centre)) for w in self.wavelengths)

    @property
    def priors(self) -> Priors:
        """Priors of all parameters: the line, the lines nearby, level, tilt, and iron where no line is nearby."""
        shape = _SHAPE.copy()
        shape[VELOCITY, :2] = self.velocity
        rows = np.concatenate([shape, *[_NEARBY] * len(self.nearby), _LOCAL, *([] if self.nearby else [_IRON])])
        return Priors(*rows.T)


# The windows are those of Shen et al. 2011 (1500-1600 and 2700-2900 Angstrom), widened to include wings and neighbours.
# He II 1640 and O III] 1663 are fitted with C IV since their blend reaches into its red wing. C IV is blueshifted by
# 0-2000 km/s in quasars (Richards et al. 2011, AJ 141, 167).
MGII = Complex("MgII", "Mg II", MG_II_DOUBLET, (), (2660.0, 2950.0), 3000.0, (0.0, 0.8))
CIV = Complex("CIV", "C IV", C_IV_DOUBLET, (HE_II, O_III), (1450.0, 1705.0), 1350.0, (-0.6, 1.2))


def broad(parameters: np.ndarray, velocity: np.ndarray, offsets: tuple, variance: float = _BIN_VARIANCE):
    """Broad profile and its derivatives.

    Parameters
    ----------
    parameters : ndarray, shape (k, >= 9)
    velocity : ndarray, shape (m,) or (k, m)
        1000 km/s.
    offsets : tuple of float
        Velocities of the line's components.
    variance : float
        Added to that of every Gaussian.

    Returns
    -------
    profile : ndarray, shape (k, m)
    derivatives : ndarray, shape (k, 9, m)
    """
    core_sigma = np.exp(parameters[:, SIGMA, None])
    shape = (len(parameters), np.shape(velocity)[-1])
    derivatives = np.zeros((shape[0], N_SHAPE, shape[1]))
    for part in _PARTS:
        peak, centre, sigma = parameters[:, PEAK, None], parameters[:, VELOCITY, None], core_sigma
        if part:
            ratio, distance, widening = (parameters[:, j, None] for j in part)
            peak, centre, sigma = peak + ratio, centre + core_sigma * distance, core_sigma * np.exp(widening)
        inverse = 1.0 / np.sqrt(sigma**2 + variance)
        value, moved, widened = np.zeros((3, *shape))
        for offset in offsets:
            u = (velocity - (centre + offset)) * inverse
            gaussian = np.exp(-0.5 * u * u)
            value += gaussian
            gaussian *= u
            moved += gaussian
            gaussian *= u
            widened += gaussian
        height = np.exp(peak)
        value *= height
        moved *= height * inverse
        widened *= height * (sigma * inverse) ** 2
        derivatives[:, PEAK] += value
        derivatives[:, VELOCITY] += moved
        derivatives[:, SIGMA] += widened
        if part:
            moved *= core_sigma
            derivatives[:, part[0]], derivatives[:, part[1]], derivatives[:, part[2]] = value, moved, widened
            derivatives[:, SIGMA] += moved * distance
    return derivatives[:, PEAK].copy(), derivatives


def model(line: Complex, parameters: np.ndarray, continuum: np.ndarray, iron: np.ndarray):
    """Model of a line's window above the continuum that was fitted to the whole spectrum.

    Parameters
    ----------
    line : Complex
    parameters : ndarray, shape (k, p)
    continuum, iron : ndarray, shape (k, m)
        Power law with Balmer continuum, and iron, in the window.

    Returns
    -------
    total : ndarray, shape (k, m)
    derivatives : ndarray, shape (k, p, m)
    profile : ndarray, shape (k, m)
        The broad line alone.
    """
    velocity = line.bin_velocity
    derivatives = np.empty((len(parameters), parameters.shape[1], len(velocity)))
    profile, derivatives[:, :N_SHAPE] = broad(parameters, velocity, line.offsets)
    total, at = profile.copy(), N_SHAPE
    for wavelength in line.nearby:
        ratio, shift, sigma = (parameters[:, at + j, None] for j in range(3))
        zero = 1e-3 * C_KM_S * np.log(wavelength / line.centre)
        u = (velocity - (zero + shift)) / np.exp(sigma)
        gaussian = np.exp(parameters[:, PEAK, None] + ratio - 0.5 * u * u)
        total += gaussian
        derivatives[:, PEAK] += gaussian
        derivatives[:, at] = gaussian
        derivatives[:, at + 1] = gaussian * u / np.exp(sigma)
        derivatives[:, at + 2] = gaussian * u * u
        at += 3
    tilt = np.linspace(-1.0, 1.0, len(velocity))
    derivatives[:, at], derivatives[:, at + 1] = continuum, continuum * tilt
    total += continuum * (parameters[:, at, None] + parameters[:, at + 1, None] * tilt)
    if not line.nearby:
        derivatives[:, at + 2], derivatives[:, at + 3] = iron, iron * tilt
        total += iron * (parameters[:, at + 2, None] + parameters[:, at + 3, None] * tilt)
    return total, derivatives, profile


def start(line: Complex, data: np.ndarray, ivar: np.ndarray) -> np.ndarray:
    """First guess of the parameters: the usual profile at the velocity and width where it fits best.

    Parameters
    ----------
    line : Complex
    data, ivar : ndarray, shape (n, m)
        Continuum-subtracted.

    Returns
    -------
    ndarray, shape (n, p)
    """
    mean = line.priors.mean
    guesses = np.array([(v, s) for s in np.log([0.7, 1.1, 1.7, 2.6, 4.0]) for v in np.arange(-3.0, 2.1, 0.5)])
    trial = np.tile(mean, (len(guesses), 1))
    trial[:, PEAK], trial[:, VELOCITY], trial[:, SIGMA] = 0.0, guesses[:, 0], guesses[:, 1]
    templates, _ = broad(trial, line.bin_velocity, line.offsets)
    # one product per spectrum, so that no guess depends on the other spectra of the batch
    norm = np.matmul(ivar[:, None, :], (templates**2).T)[:, 0]
    match = np.maximum(np.matmul((data * ivar)[:, None, :], templates.T)[:, 0], 0.0)
    norm = np.maximum(norm, 1e-300)
    prior = -0.5 * ((guesses - [line.velocity[0], mean[SIGMA]]) / [line.velocity[1], line.priors.sd[SIGMA]]) ** 2
    best = np.argmax(0.5 * match**2 / norm + prior.sum(axis=1), axis=1)
    rows = np.arange(len(data))
    parameters = trial[best]
    parameters[:, PEAK] = np.log(np.maximum(match[rows, best] / norm[rows, best], 1e-3))
    return parameters


@dataclass(frozen=True)
class Width:
    """Measurements of a broad profile: each shape (n,), in km/s, `flux` in the flux unit times 1000 km/s."""

    fwhm: np.ndarray
    fwhm_error: np.ndarray
    shift: np.ndarray
    flux: np.ndarray
    inside: np.ndarray


_SPAN = np.arange(-24.0, 24.01, 0.1)  # 1000 km/s


def width(line: Complex, parameters: np.ndarray, covariance: np.ndarray) -> Width:
    """FWHM of the whole broad profile, between the outermost points at half its maximum, and its error.

    Parameters
    ----------
    line : Complex
    parameters, covariance : ndarray, shape (n, p) and (n, p, p)

    Returns
    -------
    Width
        `shift` is the midpoint at half maximum; `inside` False where half maximum is not reached within 24,000 km/s.
    """
    profile, _ = broad(parameters, _SPAN, line.offsets, 0.0)
    rows = np.arange(len(parameters))
    top = _SPAN[np.argmax(profile, axis=1)]
    for _ in range(3):  # the maximum between the points of the span, by parabolas
        left, middle, right = broad(parameters, top[:, None] + [-0.05, 0.0, 0.05], line.offsets, 0.0)[0].T
        bend = left - 2.0 * middle + right
        move = np.divide(0.025 * (left - right), bend, out=np.zeros_like(bend), where=bend < 0)
        top = top + np.clip(move, -0.05, 0.05)
    _, at_top = broad(parameters, top[:, None], line.offsets, 0.0)
    half = 0.5 * at_top[:, PEAK, 0]
    above = profile >= half[:, None]
    first, last = np.argmax(above, axis=1), len(_SPAN) - 1 - np.argmax(above[:, ::-1], axis=1)
    inside = (first > 0) & (last < len(_SPAN) - 1)
    edges = []
    for outer, inner in ((first - 1, first), (last + 1, last)):
        outer = np.clip(outer, 0, len(_SPAN) - 1)
        low, high = profile[rows, outer], profile[rows, inner]
        fraction = np.clip((half - low) / np.where(high > low, high - low, 1.0), 0.0, 1.0)
        edges.append(_SPAN[outer] + fraction * (_SPAN[inner] - _SPAN[outer]))
    slopes = []
    for n in range(2):
        for _ in range(2):
            value, derivative = broad(parameters, edges[n][:, None], line.offsets, 0.0)
            steep = -derivative[:, VELOCITY, 0]  # d profile / d velocity
            steep = np.where(np.abs(steep) > 1e-12, steep, 1e-12)
            edges[n] = edges[n] + np.clip((half - value[:, 0]) / steep, -0.1, 0.1)
        _, derivative = broad(parameters, edges[n][:, None], line.offsets, 0.0)
        # the half-maximum point moves with every parameter as the profile there and at the top does
        slopes.append((0.5 * at_top[:, :, 0] - derivative[:, :, 0]) / steep[:, None])
    gradient = slopes[1] - slopes[0]
    variance = np.matmul(np.matmul(gradient[:, None], covariance[:, :N_SHAPE, :N_SHAPE]), gradient[:, :, None])
    sigma = np.exp(parameters[:, SIGMA])
    flux = np.exp(parameters[:, PEAK]) * sigma
    for ratio, _, widening in _PARTS[1:]:
        flux = flux + np.exp(parameters[:, PEAK] + parameters[:, ratio] + parameters[:, widening]) * sigma
    flux = flux * np.sqrt(2.0 * np.pi) * len(line.offsets)
    return Width(
        fwhm=1e3 * (edges[1] - edges[0]),
        fwhm_error=1e3 * np.sqrt(np.maximum(variance[:, 0, 0], 0.0)),
        shift=1e3 * 0.5 * (edges[0] + edges[1]),
        flux=flux,
        inside=inside,
    )
