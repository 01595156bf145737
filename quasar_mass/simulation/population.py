"""The objects of a simulated survey: positions, redshifts, epochs, and the cut that each is made to pass or to fail.

Most objects are kept by the selection. A few per cent are made to fail each of its cuts, so that every cut is tested
and the table of counts is not trivial. Objects that are rejected before their spectra are needed have no files.
"""

from dataclasses import dataclass

import numpy as np

from quasar_mass.core.constants import C_KM_S

# --- kinds of objects: name, number relative to the main kind, has spectrum files. The numbers are chosen here. -------
EXTRA_KINDS = (
    ("nearer", 0.03, False),  # Z below 1.2
    ("farther", 0.03, False),  # Z of 1.8 and more
    ("uncovered", 0.02, True),  # 1.2 <= Z < 1.463: passes the redshift cut, the spectrum does not cover the window
    ("warning", 0.01, False),  # ZWARNING != 0
    ("zvi above", 0.0003, False),  # ZVI - Z beyond 3 standard deviations, beside the few of the main kind
    ("zvi below", 0.0003, False),
    ("unlabelled", 0.01, False),  # 0.00 in all lines
    ("unmatched", 0.005, False),  # no DR16Q row
    ("other epoch", 0.005, False),  # a DR16Q row, but without the epoch that was measured
    ("catalogue only", 0.05, False),  # a DR16Q row, none in the mass table
)
MIN_OBJECTS_FOR_EXTRAS = 20  # a smaller survey has only objects of the main kind

# --- redshifts: quasars per 0.01 between these edges, measured on the published table (1.55-1.80; below it 780, the
# count at 1.50-1.55, since there the window's start leaves the spectrum) ----------------------------------------------
REDSHIFT_EDGES = (1.463, 1.55, 1.60, 1.65, 1.70, 1.75, 1.80)
REDSHIFT_COUNTS = (780, 876, 1023, 1076, 1051, 1034)
# Z against the true redshift: Student's t of 3 degrees of freedom with this scale (km/s), and a part in proportion to
# the wind, whose blueshifted C IV makes Z too small (Denney et al. 2016, ApJ 833, 33; size chosen here). They give a
# core of 310 km/s, 12 % off by 500-1000 km/s and 3 % by more. Wu & Shen 2022 (ApJS 263, 42): 11 % of DR16Q off by
# 500-1000.
REDSHIFT_ERROR = 250.0
WIND_PULL = 100.0  # km/s per standard deviation of the wind's strength
MAX_REDSHIFT_ERROR = 5000.0  # km/s, except for the wrong ones: chosen here
WRONG_REDSHIFTS = 0.003  # fraction with a wrong redshift in both catalogues: 1,900 of 750,414 in the same paper
WRONG_BY = (0.01, 0.15)  # in redshift, log-uniform, either way: chosen here; published ones go further, off the window
# ZVI - Z, measured on the published table: a fraction of 0.24 agrees to 4 decimals, of which rounding gives 0.03. The
# absolute value of the others has these quantiles, interpolated linearly in its logarithm. Standard deviation 7.9e-4.
ZVI_SAME = 0.21
ZVI_OFFSETS = (
    (0.0, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99, 0.999, 0.9999, 1.0),
    (5.0e-5, 6.4e-5, 7.9e-5, 1.29e-4, 2.38e-4, 4.4e-4, 7.9e-4, 1.2e-3, 3.36e-3, 1.01e-2, 1.9e-2, 3.8e-2),
)
ZVI_OFF = (0.0095, 0.0125)  # of the "zvi" kinds: beyond 3 standard deviations even of a survey of 20 objects

# --- epochs: fractions of objects measured on the published table -----------------------------------------------------
REPEATS = ((2, 0.0540), (3, 0.0037), (9, 0.0025))  # number of spectra, fraction of objects
MONITORED = 0.004  # fraction of objects in the SDSS Reverberation Mapping field
MONITORED_EPOCHS = (60, 75)
MIN_OBJECTS_FOR_ALL_SLOTS = 500  # from here on one monitored object has 75 spectra, and so all 74 duplicate slots
MONITORED_PLATES = (7338, 7339, 7340)  # Shen et al. 2015 (ApJS 216, 4), as is the field's centre
MONITORED_FIELD = (213.704, 53.083, 1.5)  # RA, Dec, radius in degrees
MONITORED_MJD = (56_660, 57_934)  # first and last night; chosen here within the survey's years
OTHER_EPOCH_MEASURED = (
    0.10  # fraction of repeated objects with a mass from another than the primary spectrum; chosen here
)

# --- plates: typical ones measured on the published table (median 7855; from 3688 to 10000) --------------------------
PLATES = (7950, 480)  # mean and scatter of most plates' numbers
RARE_PLATES = (0.03, 3688, 10_700)  # fraction of plates anywhere in this range
FIXED_PLATES = (3688, 10_000)  # in every survey: the first one, and one of five digits
PLATE_MJD = ((3688, 10_000), (55_273, 57_520))  # plates and nights, between which MJD is linear
SPECTRA_PER_PLATE = 50
FIBRES = 1000

# --- Galactic extinction: chosen here ---------------------------------------------------------------------------------
EBV = (0.03, 0.25)  # E(B-V)_SFD: median in magnitudes, scatter in dex


@dataclass(frozen=True)
class Target:
    """One object, before its quasar is drawn.

    Attributes
    ----------
    index : int
        Its number, which with the survey's seed determines all its randomness.
    kind : str
        ``"main"`` or one of `EXTRA_KINDS`.
    name : str
        SDSS designation, 18 characters.
    ra, dec, ebv, z, zvi : float
        Position (degrees), E(B-V)_SFD (mag), the catalogue's redshift and the mass table's.
    zwarning : int
        The catalogue's warning flags of the redshift.
    epochs : tuple of (plate, mjd, fiberid)
        Its spectra, in order of time.
    has_files : bool
        Whether its spectra are written.
    monitored : bool
        Whether it lies in the monitored field.
    """

    index: int
    kind: str
    name: str
    ra: float
    dec: float
    ebv: float
    z: float
    zvi: float
    zwarning: int
    epochs: tuple
    has_files: bool
    monitored: bool


def targets(objects: int, seed: int) -> list[Target]:
    """Draw all objects of a survey.

    Parameters
    ----------
    objects : int
        Objects of the main kind.
    seed : int
        The survey's.
    """
    rng = np.random.default_rng([seed, objects, 1])  # for plates and fibres, which no two spectra may share
    kinds = _kinds(objects)
    counts = _epoch_counts(objects) + [1] * (len(kinds) - objects)
    fibres = _Fibres(rng, sum(count for count in counts if count < MONITORED_EPOCHS[0]))
    drawn = []
    for index, ((kind, has_files), count) in enumerate(zip(kinds, counts, strict=True)):
        monitored = count >= MONITORED_EPOCHS[0]
        epochs = fibres.monitored(count) if monitored else fibres.ordinary(count)
        drawn.append(_target(index, kind, has_files, epochs, monitored, np.random.default_rng([seed, index, 2])))
    return drawn


def _kinds(objects: int) -> list[tuple[str, bool]]:
    kinds = [("main", True)] * objects
    if objects >= MIN_OBJECTS_FOR_EXTRAS:
        for kind, fraction, has_files in EXTRA_KINDS:
            kinds += [(kind, has_files)] * max(1, round(fraction * objects))
    return kinds


def _epoch_counts(objects: int) -> list[int]:
    """Count each main object's spectra: the monitored objects first, then other repeats, then single ones."""
    monitored = round(MONITORED * objects)
    low, high = MONITORED_EPOCHS
    counts = [low + 7 * n % (high - low) for n in range(monitored)]
    if monitored and objects >= MIN_OBJECTS_FOR_ALL_SLOTS:
        counts[0] = high
    for spectra, fraction in REPEATS:
        counts += [spectra] * round(fraction * objects)
    return counts + [1] * (objects - len(counts))


class _Fibres:
    """Assigns fibres so that no two spectra have the same plate, MJD and fibre."""

    def __init__(self, rng: np.random.Generator, spectra: int) -> None:
        self.rng = rng
        self.plates = self._draw_plates(max(12, -(-spectra // SPECTRA_PER_PLATE)))
        self.fibres = {plate: iter(rng.permutation(FIBRES) + 1) for plate in (*self.plates, *MONITORED_PLATES)}
        nights = np.linspace(*MONITORED_MJD, MONITORED_EPOCHS[1]).astype(int)
        self.visits = [(MONITORED_PLATES[n % len(MONITORED_PLATES)], int(mjd)) for n, mjd in enumerate(nights)]

    def _draw_plates(self, number: int) -> list[int]:
        plates = dict.fromkeys(FIXED_PLATES)
        while len(plates) < number:
            fraction, first, last = RARE_PLATES
            rare = self.rng.random() < fraction
            plate = self.rng.integers(first, last + 1) if rare else round(self.rng.normal(*PLATES))
            if int(plate) not in MONITORED_PLATES and first <= plate <= last:
                plates[int(plate)] = None
        return list(plates)

    def ordinary(self, count: int) -> tuple:
        """Spectra on different plates, one night each."""
        plates = sorted(self.rng.choice(self.plates, count, replace=False).tolist())
        return tuple((plate, round(float(_night(plate))), int(next(self.fibres[plate]))) for plate in plates)

    def monitored(self, count: int) -> tuple:
        """Spectra of some of the nights on which the monitored field was observed, always with the same fibres."""
        fibre = {plate: int(next(self.fibres[plate])) for plate in MONITORED_PLATES}
        chosen = np.sort(self.rng.choice(len(self.visits), count, replace=False))
        return tuple((*self.visits[n], fibre[self.visits[n][0]]) for n in chosen)


def _night(plate: int) -> float:
    (first, last), (start, end) = PLATE_MJD
    return start + (plate - first) * (end - start) / (last - first)


def _target(index: int, kind: str, has_files: bool, epochs: tuple, monitored: bool, rng) -> Target:
    ra, dec = _position(rng, monitored)
    z = _redshift(rng, kind)
    offset = _zvi_offset(rng)
    if kind.startswith("zvi"):
        offset = float(rng.uniform(*ZVI_OFF)) * (1 if kind == "zvi above" else -1)
    return Target(
        index=index,
        kind=kind,
        name=designation(ra, dec),
        ra=ra,
        dec=dec,
        ebv=float(min(EBV[0] * 10.0 ** (EBV[1] * rng.standard_normal()), 0.5)),
        z=z,
        zvi=round(z + offset, 4),
        zwarning=4 if kind == "warning" else 0,  # SMALL_DELTA_CHI2
        epochs=epochs,
        has_files=has_files,
        monitored=monitored,
    )


def _position(rng: np.random.Generator, monitored: bool) -> tuple[float, float]:
    if monitored:
        ra, dec, radius = MONITORED_FIELD
        distance, angle = radius * np.sqrt(rng.random()), 2.0 * np.pi * rng.random()
        dec += distance * np.sin(angle)
        return float(ra + distance * np.cos(angle) / np.cos(np.radians(dec))), float(dec)
    # Anywhere in the northern cap and near the equator; a plate's spectra are not close to each other here.
    return float(rng.uniform(0.0, 360.0)), float(np.degrees(np.arcsin(rng.uniform(-0.10, 0.87))))


def _redshift(rng: np.random.Generator, kind: str) -> float:
    if kind == "nearer":
        z = rng.uniform(0.3, 1.2)
    elif kind == "farther":
        z = rng.uniform(1.8, 2.4)
    elif kind == "uncovered":
        z = rng.uniform(1.2, REDSHIFT_EDGES[0])
    else:
        cumulative = np.append(0.0, np.cumsum(np.diff(REDSHIFT_EDGES) * REDSHIFT_COUNTS))
        z = np.interp(rng.random() * cumulative[-1], cumulative, REDSHIFT_EDGES)
    return float(np.floor(z * 1e6) / 1e6)  # six decimals, and never rounded up to the upper edge


def _zvi_offset(rng: np.random.Generator) -> float:
    """ZVI - Z before it is rounded."""
    same, quantile, sign = rng.random(3)
    if same < ZVI_SAME:
        return 0.0
    quantiles, offsets = ZVI_OFFSETS
    return float(np.exp(np.interp(quantile, quantiles, np.log(offsets)))) * (1.0 if sign < 0.5 else -1.0)


def true_redshift(rng: np.random.Generator, z: float, wind: float = 0.0) -> float:
    """Draw the true redshift of an object.

    Parameters
    ----------
    rng : numpy.random.Generator
        The object's own.
    z : float
        Redshift of the catalogues.
    wind : float
        Strength of its wind, in standard deviations from the mean.
    """
    wrong, size, sign = rng.random(3)
    velocity = REDSHIFT_ERROR * rng.standard_t(3) + WIND_PULL * wind
    if wrong < WRONG_REDSHIFTS:
        low, high = np.log(WRONG_BY)
        return z + (1.0 if sign < 0.5 else -1.0) * float(np.exp(low + size * (high - low)))
    velocity = np.clip(velocity, -MAX_REDSHIFT_ERROR, MAX_REDSHIFT_ERROR)
    return float((1.0 + z) * (1.0 + velocity / C_KM_S) - 1.0)


def designation(ra: float, dec: float) -> str:
    """Give the SDSS name ``hhmmss.ss+ddmmss.s`` of a position in degrees: truncated, not rounded (an IAU rule)."""
    hundredths = int(ra / 15.0 * 360_000) % 8_640_000
    tenths = int(abs(dec) * 36_000)
    hours, rest = divmod(hundredths, 360_000)
    minutes, seconds = divmod(rest, 6000)
    degrees, arc = divmod(tenths, 36_000)
    arcmin, arcsec = divmod(arc, 600)
    sign = "-" if dec < 0 else "+"
    east = f"{hours:02d}{minutes:02d}{seconds / 100:05.2f}"
    return f"{east}{sign}{degrees:02d}{arcmin:02d}{arcsec / 10:04.1f}"
