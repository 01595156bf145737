"""Small files of the published formats for all tests, written with astropy and by hand.

The package itself is not used to make them, so that a fault of a reader cannot hide in its own writer.
"""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits

REAL_DATA = "QUASAR_MASS_REAL_DATA"

FIRST_PIXEL, N_PIXELS = 35520, 4500  # 3,571-10,062 Angstrom: covers the window for 1.475 <= z <= 1.968
BRIGHTSKY = 1 << 23

# bytes (1-based, inclusive), format, unit, label, explanation; a part of the published table's 123 bytes
CHEN_LAYOUT = (
    (1, 18, "A18", "---", "SDSS", "SDSS name, hhmmss.ss+ddmmss.s"),
    (20, 24, "I5", "---", "Plate", "Plate number"),
    (26, 30, "I5", "d", "MJD", "Modified Julian date"),
    (32, 35, "I4", "---", "Fiber", "Fiber number"),
    (37, 42, "F6.4", "---", "ZVI", "Visual inspection redshift"),
    (44, 49, "F6.4", "---", "zMgII", "? Redshift of Mg II (1)"),
    (91, 94, "F4.2", "[Msun]", "logMBH-Hb", "? Mass from H-beta"),
    (96, 100, "F5.2", "[Msun]", "logMBH-MgII", "? Mass from Mg II"),
    (108, 111, "F4.2", "[Msun]", "logMBH-Ha-2", "? Mass from H-alpha, recalibrated"),
    (113, 117, "F5.2", "[Msun]", "logMBH-MgII-2", "? Mass from Mg II, recalibrated"),
    (119, 123, "F5.2", "[Msun]", "logMBH-CIV-2", "? Mass from C IV, recalibrated"),
)


def chen_text(rows: list[dict], layout: tuple = CHEN_LAYOUT) -> str:
    """A machine-readable table; a row is a dict from label to text, number (0 if left out) or None for blanks."""
    head = [
        "Title: Quasar Properties from the Sloan Digital Sky Survey",
        "Authors: A. Author",
        "Table: Quasars",
        "=" * 80,
        "Byte-by-byte Description of file: table_mrt.txt",
        "-" * 80,
        "   Bytes Format Units  Label          Explanations",
        "-" * 80,
    ]
    head += [f"{a:4d}-{b:3d} {form:<6} {unit:<6} {label:<14} {text}" for a, b, form, unit, label, text in layout]
    head += ["-" * 80, "Note (1): 0 where it was not measured.", "    A second line of the note.", "-" * 80]
    return "\n".join(head + [_chen_row(row, layout) for row in rows]) + "\n"


def _chen_row(row: dict, layout: tuple) -> str:
    cells = [" "] * max(end for _, end, *_ in layout)
    for start, end, form, _, label, _ in layout:
        value = row.get(label, 0)
        width = end - start + 1
        if value is None:
            continue
        if isinstance(value, str):
            text = value
        elif form.startswith("F"):
            text = f"{value:.{form.split('.')[1]}f}"
        else:
            text = str(value)
        assert len(text) <= width, (label, text)
        cells[start - 1 : end] = f"{text:<{width}}" if form.startswith("A") else f"{text:>{width}}"
    return "".join(cells)


def object_name(number: int) -> str:
    return f"{number // 3600 % 24:02d}{number // 60 % 60:02d}{number % 60:02d}.00+000000.0"


def dr16q_row(number: int, *, spectrum: tuple, z: float = 1.6, duplicates: tuple = (), **more) -> dict:
    """One object of DR16Q; its E(B-V) is 0.02 unless EXTINCTION is given."""
    plate, mjd, fiberid = spectrum
    row = {
        "SDSS_NAME": object_name(number),
        "RA": float(number),
        "DEC": -float(number) / 10,
        "PLATE": plate,
        "MJD": mjd,
        "FIBERID": fiberid,
        "Z": z,
        "ZWARNING": 0,
        "BAL_PROB": 0.25,
        "SN_MEDIAN_ALL": 5.5,
        "EXTINCTION": np.array([4.239, 3.303, 2.285, 1.698, 1.263]) * 0.02,
        "duplicates": duplicates,
    }
    return row | more


def write_dr16q(path: Path, rows: list[dict], *, lower: bool = False, drop: tuple = (), fill: int = -1) -> Path:
    """The needed columns of DR16Q among a few others, 74 slots for duplicates, big-endian as FITS has it."""
    n = len(rows)
    slots = np.full((3, n, 74), fill, dtype=np.int32)
    for number, row in enumerate(rows):
        for slot, spectrum in enumerate(row["duplicates"]):
            slots[:, number, slot] = spectrum
    plain = [("SDSS_NAME", "18A"), ("RA", "D"), ("DEC", "D"), ("PLATE", "J"), ("MJD", "J"), ("FIBERID", "I")]
    after = [("Z", "D"), ("ZWARNING", "J"), ("BAL_PROB", "E"), ("SN_MEDIAN_ALL", "D"), ("EXTINCTION", "5E")]
    columns = [(name, form, [row[name] for row in rows]) for name, form in plain]
    columns.append(("AUTOCLASS_PQN", "6A", ["QSO"] * n))
    columns.append(("THING_ID", "K", np.arange(n)))
    columns += [(name, form, [row[name] for row in rows]) for name, form in after]
    columns.append(("NSPEC", "I", [len(row["duplicates"]) for row in rows]))
    for name, form, values in zip(("PLATE", "MJD", "FIBERID"), ("74J", "74J", "74I"), slots, strict=True):
        columns.append((f"{name}_DUPLICATE", form, values))
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column(name.lower() if lower else name, form, array=np.array(values))
            for name, form, values in columns
            if name not in drop
        ],
        name="CATALOG",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path, overwrite=True)
    return path


def smooth_flux(pixel: np.ndarray) -> np.ndarray:
    """A power law with bumps, 1e-17 erg / s / cm2 / Angstrom."""
    x = (pixel - 37500) / 1000.0
    return (12.0 * np.exp(-0.8 * x) + 6.0 * np.exp(-0.5 * (x / 0.03) ** 2) + np.sin(40 * x)).astype(np.float32)


def write_spec(
    path: Path,
    *,
    spectrum: tuple = (4000, 56000, 1),
    first: int = FIRST_PIXEL,
    flux: np.ndarray | None = None,
    ivar: np.ndarray | None = None,
    and_mask: np.ndarray | None = None,
    loglam: np.ndarray | None = None,
    z: float | None = 1.6,
    extinction: object = (0.0848, 0.0661, 0.0457, 0.034, 0.0253),
    upper: bool = False,
    extnames: bool = True,
    exposures: int = 0,
    in_header: bool = True,
    in_row: bool = True,
    hdus: int = 4,
    simulated: bool = False,
) -> Path:
    """A spec-lite file of one reduction or another; `z` or `extinction` None leaves that column out."""
    flux = smooth_flux(first + np.arange(N_PIXELS)) if flux is None else np.asarray(flux, np.float32)
    n = len(flux)
    plate, mjd, fiberid = spectrum
    coadd = {
        "flux": ("E", flux),
        "loglam": ("E", 1e-4 * (first + np.arange(n)) if loglam is None else loglam),
        "ivar": ("E", np.full(n, 4.0) if ivar is None else ivar),
        "and_mask": ("J", np.zeros(n, int) if and_mask is None else and_mask),
        "or_mask": ("J", np.zeros(n, int)),
        "wdisp": ("E", np.ones(n)),
        "sky": ("E", np.ones(n)),
        "model": ("E", flux),
    }
    row = {"CLASS": ("6A", ["QSO"]), "RUN2D": ("7A", ["v5_13_0"]), "ZWARNING": ("J", [0])}
    if in_row:
        row |= {"PLATE": ("J", [plate]), "MJD": ("J", [mjd]), "FIBERID": ("J", [fiberid])}
    if z is not None:
        row["Z"] = ("E", [z])
    if extinction is not None:
        row["EXTINCTION"] = (f"{len(extinction)}E", [list(extinction)])
    lines = {"LINENAME": ("13A", ["C_IV 1549", "MgII 2799"]), "LINEZ": ("E", [1.6, 1.6])}

    def table(columns: dict, name: str) -> fits.BinTableHDU:
        cased = [(key.upper() if upper else key, form, np.array(values)) for key, (form, values) in columns.items()]
        return fits.BinTableHDU.from_columns(
            [fits.Column(key, form, array=values) for key, form, values in cased], name=name if extnames else None
        )

    primary = fits.PrimaryHDU()
    if in_header:
        primary.header.update({"PLATEID": plate, "MJD": mjd, "FIBERID": fiberid})
    if simulated:
        primary.header["SIMULATE"] = True
    every = [primary, table(coadd, "COADD"), table(row, "SPALL"), table(lines, "SPZLINE")]
    exposure = {key: coadd[key] for key in ("flux", "loglam", "ivar")}
    every += [table(exposure, f"B1-{number:08d}") for number in range(exposures)]
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.HDUList(every[:hdus] if hdus < 4 else every).writeto(path, overwrite=True)
    return path


def spec_path(folder: Path, spectrum: tuple) -> Path:
    plate, mjd, fiberid = spectrum
    return folder / "spectra" / f"{plate:04d}" / f"spec-{plate:04d}-{mjd:05d}-{fiberid:04d}.fits"


# The tiny survey: object number to its spectra, primary first. Object 3 has a duplicate on a five-digit plate.
TINY = {
    number: [(4000 + number, 56000 + number, 10 * number)]
    + [(10000 + number, 58000, 1000 - copy) for copy in range({3: 1, 5: 2, 8: 3}.get(number, 0))]
    for number in range(1, 13)
}
TINY_REDSHIFT = {number: 1.48 + 0.02 * number for number in TINY}


def write_tiny_survey(folder: Path) -> Path:
    """Twelve quasars with eighteen spectra, all of which are usable."""
    chen, dr16q = [], []
    for number, spectra in TINY.items():
        z = TINY_REDSHIFT[number]
        # objects 3 and 5 were measured on a duplicate
        plate, mjd, fiberid = spectra[1] if number in (3, 5) else spectra[0]
        line = "logMBH-CIV-2" if number % 4 == 0 else "logMBH-MgII-2"
        row = {"SDSS": object_name(number), "Plate": plate, "MJD": mjd, "Fiber": fiberid}
        chen.append(row | {"ZVI": round(z + 0.001 * (-1) ** number, 4), line: 8.0 + number / 10})
        dr16q.append(dr16q_row(number, spectrum=spectra[0], z=z, duplicates=tuple(spectra[1:])))
        for copy, spectrum in enumerate(spectra):
            pixel = FIRST_PIXEL + np.arange(N_PIXELS)
            flux = smooth_flux(pixel) * (1 + 0.1 * number) + np.float32(0.05 * copy)
            ivar = np.full(N_PIXELS, 4.0)
            ivar[500 : 500 + 10 * number] = 0
            write_spec(spec_path(folder, spectrum), spectrum=spectrum, flux=flux, ivar=ivar, z=z, upper=number % 2 == 0)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "apjsab41fet1_mrt.txt").write_text(chen_text(chen), encoding="ascii")
    write_dr16q(folder / "bigger_data" / "DR16Q_v4.fits", dr16q)
    return folder


@pytest.fixture(scope="session")
def make():
    """The writers of this file."""
    return SimpleNamespace(
        chen_text=chen_text,
        chen_layout=CHEN_LAYOUT,
        dr16q_row=dr16q_row,
        dr16q=write_dr16q,
        spec=write_spec,
        spec_path=spec_path,
        smooth_flux=smooth_flux,
        object_name=object_name,
        first_pixel=FIRST_PIXEL,
        n_pixels=N_PIXELS,
        tiny=TINY,
        tiny_redshift=TINY_REDSHIFT,
    )


@pytest.fixture(scope="session")
def _tiny_original(tmp_path_factory) -> Path:
    return write_tiny_survey(tmp_path_factory.mktemp("tiny") / "survey")


@pytest.fixture
def tiny_survey(_tiny_original, tmp_path):
    """A survey folder of twelve quasars and eighteen spectra, without tables; each test has its own copy."""
    from quasar_mass.core.survey import Survey

    return Survey(shutil.copytree(_tiny_original, tmp_path / "survey"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real SDSS files: sdss/ with index.csv, labels/quasars.parquet, reference/."""
    folder = os.environ.get(REAL_DATA)
    if not folder:
        pytest.skip(f"needs real SDSS files: set {REAL_DATA} to their folder")
    return Path(folder)
