"""One object from start to end: draw the quasar, observe its epochs, write their files, measure its masses."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quasar_mass import virial
from quasar_mass.files import whole
from quasar_mass.simulation import instrument, labels, quasars, specfile
from quasar_mass.simulation.population import OTHER_EPOCH_MEASURED, REDSHIFT_ERROR, Target
from quasar_mass.spectrum import transmission
from quasar_mass.survey import Survey

# Change from one epoch to the next, standard deviations: of the brightness (mag; about that of quasars over months to
# years, Vanden Berk et al. 2004, ApJ 601, 692), and of the slope (chosen here). The lines follow the continuum.
VARIABILITY = (0.10, 0.05)
# A_u..A_z per E(B-V)_SFD at R_V = 3.1: Schlafly & Finkbeiner 2011 (ApJ 737, 103), table 6.
EXTINCTION = np.array((4.239, 3.303, 2.285, 1.698, 1.263))
FILTERS = np.array((3551.0, 4686.0, 6166.0, 7480.0, 8932.0))  # Angstrom, effective: Fukugita et al. 1996, AJ 111, 1748
LIGHT_ANGSTROM = 2.99792458e18  # Angstrom/s
LAMBDA_EFF = {False: 4000.0, True: 5400.0}  # Angstrom: quasar targets, and the monitored field (measured)
MPC = 3.0856775814913673e24  # cm


@dataclass(frozen=True)
class Record:
    """What the catalogues say of one object.

    Attributes
    ----------
    target : Target
        Its place, redshifts and epochs.
    quasar : Quasar
        What it truly is.
    label : Label
        Its masses.
    primary, measured : int
        Which of the epochs is DR16Q's primary, and on which the masses were measured.
    signal_to_noise : tuple of float
        SN_MEDIAN_ALL of each epoch.
    magnitudes : ndarray
        ugriz, dimmed by the Galaxy.
    """

    target: Target
    quasar: quasars.Quasar
    label: labels.Label
    primary: int
    measured: int
    signal_to_noise: tuple
    magnitudes: np.ndarray


def simulate_targets(survey: Survey, seed: int, targets: Sequence[Target]) -> list[Record]:
    """Simulate some objects and write their spectra; what one worker is given at a time."""
    return [simulate_target(survey, seed, target) for target in targets]


def simulate_target(survey: Survey, seed: int, target: Target) -> Record:
    """Simulate one object and write its spectra, keeping files that are there.

    Parameters
    ----------
    survey : Survey
        Where to.
    seed : int
        The survey's: with the object's number, all its randomness, so that the bytes depend on nothing else.
    target : Target
        Which.
    """
    rng = np.random.default_rng([seed, target.index])
    true_redshift = (1.0 + target.z) * (1.0 + REDSHIFT_ERROR / quasars.LIGHT * rng.standard_normal()) - 1.0
    quasar = quasars.draw(rng, true_redshift)
    changes = rng.standard_normal((len(target.epochs), 2)) * VARIABILITY
    magnitudes = _magnitudes(quasar, target.ebv)

    observations = []
    if target.has_files:
        light = _light(quasar, target.ebv)
        for (plate, mjd, fiberid), (dimming, tilt) in zip(target.epochs, changes, strict=True):
            where = instrument.conditions(seed, plate, mjd, 1 if fiberid <= 500 else 2)
            varied = light * _variation(dimming, tilt, true_redshift)
            observations.append(instrument.observe(rng, varied, where))
        quality = [observation.signal_to_noise for observation in observations]
    else:
        quality = [_expected_signal_to_noise(quasar, target.ebv)]

    primary = int(np.argmax(quality))  # as DR16Q chooses it
    measured = primary
    others = [n for n in range(len(quality)) if n != primary]
    if others and rng.random() < OTHER_EPOCH_MEASURED:
        measured = int(rng.choice(others))
    dimming, tilt = changes[measured]
    label = labels.measure(
        rng,
        quasar,
        redshift=target.z,
        signal_to_noise=quality[measured],
        luminosity={
            line: value - 0.4 * dimming + tilt * np.log10(virial.CALIBRATIONS[line].continuum / 3000.0)
            for line, value in labels.mean_luminosities(quasar).items()
        },
        labelled=target.kind != "unlabelled",
    )
    for n, observation in enumerate(observations):
        path = survey.spectrum(*target.epochs[n])
        if not path.exists():
            row = _row(target, magnitudes, primary == n)
            with whole(path) as temporary:
                temporary.write_bytes(specfile.spec_lite(target.epochs[n], observation, row))
    return Record(target, quasar, label, primary, measured, tuple(quality), magnitudes)


def thing_id(target: Target) -> int:
    """Give a number for THING_ID that no two objects share."""
    return 900_000_000 + target.index


def _row(target: Target, magnitudes: np.ndarray, primary: bool) -> dict:
    """Say what HDU 2 of each of the object's files does of the object."""
    flux = 10.0 ** (0.4 * (22.5 - magnitudes))  # nanomaggies
    return {
        "RA": target.ra,
        "DEC": target.dec,
        "Z": target.z,
        "Z_ERR": REDSHIFT_ERROR / quasars.LIGHT * (1.0 + target.z),
        "ZWARNING": target.zwarning,
        "LAMBDA_EFF": LAMBDA_EFF[target.monitored],
        "THING_ID": thing_id(target),
        "NSPECOBS": len(target.epochs),
        "SPECPRIMARY": primary,
        "EXTINCTION": EXTINCTION * target.ebv,
        "PSFMAG": magnitudes,
        "PSFFLUX": flux,
    }


def _light(quasar: quasars.Quasar, ebv: float) -> np.ndarray:
    """Mean flux density above the atmosphere on the instrument's pixels, in 1e-17 erg/s/cm2/Angstrom."""
    density = quasars.luminosity_density(quasar, instrument.pixels() - np.log10(1.0 + quasar.redshift))
    k = np.arange(instrument.FIRST, instrument.LAST + 1)
    return density * _dilution(quasar.redshift) * transmission(k, ebv)


def _variation(dimming: float, tilt: float, redshift: float) -> np.ndarray:
    """Factor on the light: `dimming` magnitudes, and a change of slope around 3000 A in the rest frame."""
    return 10.0 ** (-0.4 * dimming + tilt * (instrument.pixels() - np.log10(3000.0 * (1.0 + redshift))))


def _magnitudes(quasar: quasars.Quasar, ebv: float) -> np.ndarray:
    """AB magnitudes of the power law alone at the filters' effective wavelengths, dimmed by the Galaxy."""
    rest = FILTERS / (1.0 + quasar.redshift)
    density = 10.0**quasar.log_l3000 / 3000.0 * (rest / 3000.0) ** quasar.slope
    per_hertz = 1e-17 * density * _dilution(quasar.redshift) * FILTERS**2 / LIGHT_ANGSTROM
    return -2.5 * np.log10(per_hertz) - 48.60 + ebv * EXTINCTION


def _expected_signal_to_noise(quasar: quasars.Quasar, ebv: float) -> float:
    """Of an object whose spectrum is not written: the power law over the typical noise at 7480 A."""
    magnitude = _magnitudes(quasar, ebv)[3]
    flux = 1e17 * 10.0 ** (-0.4 * (magnitude + 48.60)) * LIGHT_ANGSTROM / FILTERS[3] ** 2
    return float(flux / np.interp(FILTERS[3], instrument.SKY[:, 0], instrument.SKY[:, 1]))


def _dilution(redshift: float) -> float:
    """Flux density (1e-17 erg/s/cm2/Angstrom, observed) over luminosity density (erg/s/Angstrom, rest frame)."""
    redshifts, distances = _distances()
    distance = np.interp(redshift, redshifts, distances)
    return float(1e17 / (4.0 * np.pi * distance**2 * (1.0 + redshift)))


@functools.cache
def _distances() -> tuple[np.ndarray, np.ndarray]:
    """Luminosity distances in cm, Planck 2015 cosmology; the table's steps cost less than 1e-6 in the distance."""
    from astropy.cosmology import Planck15  # not at the top: half a second

    redshifts = np.linspace(0.25, 2.5, 4501)
    return redshifts, MPC * Planck15.luminosity_distance(redshifts).value
