"""A survey is a folder: its layout, the wavelength grid and the constants of the selection.

Building, training, evaluating and predicting take a `Survey` and treat real and simulated data alike; everything they
write says which it was.
"""

import functools
import json
import os
from dataclasses import dataclass
from pathlib import Path

from quasar_mass.core.errors import FileError, SurveyError

# --- the rest-frame window and its grid -------------------------------------------------------------------------
WINDOW = (3.16, 3.53)  # log10(wavelength / Angstrom), rest frame: 1445-3388 A, from C IV 1549 to Mg II 2800
STEP = 1e-4  # dex per pixel: SDSS's own sampling
REFERENCE_STEP = 5e-5  # dex per pixel: the published run, twice oversampled

# --- the selection (one constant per cut; `selection.select` applies them in this order) ----------------------------
# The label is the first non-zero of these single-epoch masses, log10(M_BH / M_Sun), of the Chen+ 2019 table.
LABEL_COLUMNS = ("logMBH-Hb", "logMBH-Ha-2", "logMBH-MgII-2", "logMBH-CIV-2")
LABEL_LINES = ("Hb", "Ha", "MgII", "CIV")  # the same four, as the tables' LABEL_LINE names them
REDSHIFT_RANGE = (1.2, 1.8)  # of DR16Q's Z, lower end included
WIDE_REDSHIFT_RANGE = (0.35, 2.65)  # of `build --reach`: an SDSS spectrum shows Mg II, or C IV and C III]
REDSHIFT_SIGMAS = 3.0  # |ZVI - Z| within this many standard deviations

# --- pixels -------------------------------------------------------------------------------------------------------
BRIGHTSKY = 1 << 23  # the SPPIXMASK bit in AND_MASK that SDSS advises to use; the worst pixels have ivar = 0 anyway

# --- Galactic extinction --------------------------------------------------------------------------------------------
EXTINCTION_G = 3.303  # A_g / E(B-V)_SFD, Schlafly & Finkbeiner 2011, R_V = 3.1 (DR16Q's EXTINCTION[1])
EXTINCTION_V = 2.742  # A_V / E(B-V)_SFD, Schlafly & Finkbeiner 2011, table 6 (Landolt V)
R_V = 3.1  # Fitzpatrick 1999 curve

# --- the split, by object ---------------------------------------------------------------------------------------------
SPLITS = ("training", "validation", "test")
SPLIT_TENTHS = (7, 2, 1)  # of the objects, in the order of SPLITS
EPOCH_BINS = (1, 2, 3, 4, 60)  # lower edges of the strata in N_EPOCHS: 1, 2, 3, 4-59, 60 and more
SPLIT_SEED = 42

# The demonstration survey of `make run`: as large as ten minutes on two cores and 2 GB of disk allow with a margin.
DEMO_OBJECTS = 3500

_PACKAGE = Path(__file__).resolve().parents[1]
_IN_REPOSITORY = all((_PACKAGE.parent / name).exists() for name in ("pyproject.toml", "get_Chen_data.py"))
# Where the default surveys and results lie: in the repository, or, if the package is installed, in the current folder.
HOME = _PACKAGE.parent if _IN_REPOSITORY else Path.cwd()
MODELS = {"intermediate": "Best_ANN_intermediate_stage.h5", "final": "Best_ANN_final_stage.h5"}  # shipped
REAL_FOLDER = HOME / "data"
SIMULATED_FOLDER = HOME / "data" / "simulated"


@dataclass(frozen=True)
class Grid:
    """The fixed rest-frame grid all spectra are put on, equidistant in log10 wavelength over `WINDOW`.

    Parameters
    ----------
    step : float
        dex per pixel.
    """

    step: float = STEP

    def __post_init__(self) -> None:
        if not 1e-5 <= self.step <= 1e-2:
            raise SurveyError(
                "the grid step",
                f"must be between 1e-5 and 1e-2 dex and is {self.step:g}; SDSS's own is {STEP:g}, the reference's "
                f"{REFERENCE_STEP:g}",
            )

    @property
    def start(self) -> float:
        """log10(wavelength / Angstrom) of the first pixel."""
        return WINDOW[0]

    @property
    def size(self) -> int:
        """Number of pixels, both ends of the window included."""
        return int((WINDOW[1] - WINDOW[0]) / self.step + 1e-6) + 1

    @functools.cached_property
    def log_wavelength(self):
        """log10(rest wavelength / Angstrom) of every pixel, shape (size,)."""
        import numpy as np  # not at the top: --help needs no numpy

        return self.start + self.step * np.arange(self.size)

    @property
    def wavelength(self):
        """Rest wavelength of every pixel in Angstrom (vacuum), shape (size,)."""
        return 10.0**self.log_wavelength


@dataclass(frozen=True)
class Survey:
    """A survey folder: where each published input and each table made from them lies.

    Parameters
    ----------
    folder : path
        For example ``data`` (the real survey) or ``data/simulated``.

    Raises
    ------
    SurveyError
        If there is a file of that name.
    """

    folder: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))
        for path in (self.folder, *self.folder.parents):
            if os.path.isfile(path):
                raise SurveyError(path, "is a file, and a survey is a folder; name the survey's folder")

    # published inputs, never edited
    @property
    def chen(self) -> Path:
        """The Chen+ 2019 machine-readable table."""
        return self.folder / "apjsab41fet1_mrt.txt"

    @property
    def dr16q(self) -> Path:
        """The DR16Q catalogue."""
        return self.folder / "bigger_data" / "DR16Q_v4.fits"

    def spectrum(self, plate: int, mjd: int, fiberid: int) -> Path:
        """The spec file of one spectrum, as the SDSS archive names it."""
        return self.folder / f"spectra/{plate:04d}/spec-{format_spec_id(plate, mjd, fiberid)}.fits"

    # tables made from them
    @property
    def quasars(self) -> Path:
        """One row per object: label, redshift, epochs, split."""
        return self.folder / "bigger_data" / "quasars.parquet"

    @property
    def spectra(self) -> Path:
        """One row per spectrum on the common grid."""
        return self.folder / "bigger_data" / "spectra.parquet"

    @property
    def rejects(self) -> Path:
        """One row per spectrum that was selected and is not on the grid, with the reason."""
        return self.folder / "bigger_data" / "rejects.parquet"

    # what a simulation adds
    @property
    def card(self) -> Path:
        """`survey.json`, which `simulate` writes; a folder without one holds real data."""
        return self.folder / "survey.json"

    @property
    def truth(self) -> Path:
        """True masses, luminosities and line widths of a simulation; for evaluation alone."""
        return self.folder / "truth.parquet"

    @property
    def lock(self) -> Path:
        """There while a command writes in the folder."""
        return self.folder / ".lock"

    def about(self) -> dict:
        """What `survey.json` says, or ``{"kind": "sdss"}`` where there is none.

        Raises
        ------
        FileError
            If `survey.json` exists and cannot be read: a simulation must not pass for real data.
        """
        if not self.card.exists():
            return {"kind": "sdss"}
        try:
            about = json.loads(self.card.read_text(encoding="utf-8"))
            if about["kind"] not in ("simulated", "sdss"):
                raise ValueError(f"kind {about['kind']!r}")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise FileError(
                self.card,
                f'is not JSON with "kind": "simulated" or "sdss" ({error}); restore it, or simulate the survey again '
                "in another folder",
            ) from error
        return about

    @property
    def kind(self) -> str:
        """``"simulated"`` or ``"sdss"``."""
        return self.about()["kind"]


def is_spectrum_id(plate, mjd, fiberid):
    """Whether numbers, or arrays of them, can be those of an SDSS spectrum."""
    return (plate > 0) & (plate < 100_000) & (mjd > 0) & (mjd < 100_000) & (fiberid > 0) & (fiberid < 10_000)


def format_spec_id(plate: int, mjd: int, fiberid: int) -> str:
    """``plate-mjd-fiber`` as file names and the reference's tables have it, for example ``7666-57339-0121``."""
    return f"{plate:04d}-{mjd:05d}-{fiberid:04d}"


def shipped_model(name: str) -> Path:
    """The file of one of `MODELS`: in the installed package, or in ``models/Best_models`` of the repository."""
    inside = _PACKAGE / "models" / MODELS[name]
    return inside if inside.exists() else HOME / "models" / "Best_models" / MODELS[name]


def default_survey() -> Survey:
    """The real survey where its tables or its catalogues are in ``data``, else the simulated one."""
    real = Survey(REAL_FOLDER)
    exists = any(path.exists() for path in (real.quasars, real.spectra, real.chen, real.dr16q))
    return real if exists else Survey(SIMULATED_FOLDER)
