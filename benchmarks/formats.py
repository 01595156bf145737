"""One quasar in every format that is read: mass, interval and flags of each; the tables of docs/formats.md.

    .venv/bin/python benchmarks/formats.py

A simulated quasar is written in the formats of the surveys, by their published data models (the writers are those of
the tests), each time without noise and with the errors of one BOSS spectrum. With QUASAR_MASS_REAL_DATA=folder, what
becomes of the real spectra of its folders `sdss` and `sdss_rm017` follows.
"""

import gzip
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from contest import HOME, MODEL

sys.path.insert(0, str(HOME / "tests"))

import desi_files
import formats
import spectrum_tables

from quasar_mass.core.survey import Survey
from quasar_mass.predict import inputs, mass_table
from quasar_mass.predict.predictor import Predictor
from quasar_mass.simulation import observing, population
from quasar_mass.simulation.quasar.received_flux import received_flux
from quasar_mass.simulation.spectrograph import spec_file
from quasar_mass.virial.files import measure_files

SEED, EPOCH = 5, (7666, 57339, 121)  # plate, MJD and fibre of the spectrum
REDSHIFTS = (1.60, 1.66)  # among which the quasar is chosen


def write_all(folder: Path) -> dict[str, Path]:
    """The files of one quasar, by what they are."""
    drawn = population.targets(40, SEED)
    target = next(one for one in drawn if one.kind == "main" and REDSHIFTS[0] < one.z < REDSHIFTS[1])
    target = replace(target, epochs=(EPOCH,))
    quasar = observing.draw_quasar(SEED, target)
    exposure = observing.epoch_exposure(SEED, quasar, target, 0, received_flux(quasar, target.ebv), np.zeros(2))
    spectrum = observing.noiseless_spectrum(exposure, target, EPOCH)
    record, _ = observing.observe(SEED, target)
    reading = exposure.read(observing.epoch_noise(SEED, target, 0))
    columns = observing.object_columns(record) | {"Z_ERR": 1e-3, "NSPECOBS": 1, "SPECPRIMARY": True}
    lite = replace(reading, flux=exposure.flux, ivar=exposure.true_ivar)
    files = {"SDSS-IV, lite": folder / "spec-7666-57339-0121.fits"}
    files["SDSS-IV, lite"].write_bytes(spec_file.spec_lite(EPOCH, lite, columns))
    files["the same, gzip-compressed"] = folder / "spec-7666-57339-0121.fits.gz"
    files["the same, gzip-compressed"].write_bytes(gzip.compress(files["SDSS-IV, lite"].read_bytes()))

    known = {"redshift": target.z, "ebv": spectrum.ebv}
    ivar = np.where(spectrum.mask, 0.0, spectrum.ivar)
    arrays = spectrum.wavelength, spectrum.flux, ivar
    for release in ("DR18", "DR19", "DR20"):
        for full in (False, True):
            name = f"SDSS-V {release}, {'full' if full else 'lite'}"
            path = folder / f"{release}-{'full' if full else 'lite'}.fits"
            files[name] = formats.sdss_v(path, *arrays, release=release, full=full, **known)
    path = folder / "lco.fits"
    files["SDSS-V DR19, Las Campanas"] = formats.sdss_v(path, *arrays, telescope="LCO Du Pont", **known)
    path = folder / "rjce.fits"
    files["SDSS-V DR19, E(B-V) of another kind"] = formats.sdss_v(path, *arrays, ebv_type="RJCE", **known)
    error = np.divide(1.0, np.sqrt(ivar), out=np.zeros(len(ivar)), where=ivar > 0)
    path = folder / "spSpec-52000-1234-567.fit"
    files["SDSS-I/II, spSpec"] = formats.sp_spec(path, *arrays[:2], error, redshift=target.z)

    def flux(wavelength: np.ndarray) -> np.ndarray:
        return np.interp(wavelength, spectrum.wavelength, spectrum.flux)

    def sigma(wavelength: np.ndarray) -> np.ndarray:
        """The same noise per wavelength: smaller pixels have more of it."""
        good = ivar > 0
        per_pixel = np.interp(wavelength, spectrum.wavelength[good], ivar[good] ** -0.5)
        return per_pixel * np.sqrt(wavelength * np.log(10.0) * 1e-4 / desi_files.STEP)

    observed = desi_files.Target(39_627_000_000_000_001, flux, sigma, ebv=spectrum.ebv, redshift=target.z)
    several = replace(observed, status=(0, 0, 0), sigma=lambda wavelength: sigma(wavelength) * 3**0.5)
    for name, one in (("coadd", observed), ("spectra", several)):
        path = folder / name / f"{name}-main-dark-26065.fits"
        files[f"DESI, {name}"] = desi_files.write_spectra(path, [one], noise=0.0)
        desi_files.write_redrock(path.with_name("redrock-main-dark-26065.fits"), [one])
    table = dict(zip(("wavelength", "flux", "ivar"), arrays, strict=True))
    stated = {"wavelength": "Angstrom", "flux": "1e-17 erg / (s cm2 Angstrom)"}
    said = {"z": target.z, "E(B-V)": spectrum.ebv}
    named = {"csv": "CSV", "txt": "text", "ecsv": "ECSV", "fits": "FITS table", "vot": "VOTable", "npz": "NumPy, .npz"}
    for ending, name in named.items():
        units = {} if ending in ("csv", "txt") else stated
        files[name] = spectrum_tables.write(folder, ending, table, units, **said)
    files["LAMOST"] = formats.lamost(folder / "lamost.fits", *arrays)
    return files


def masses(files: list[Path]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What `predict` and `virial` give for files; a row for each."""
    requests = inputs.gather(files, Survey("data")).requests
    fitted = measure_files(requests, quiet=True)
    return mass_table.predict_files(requests, Predictor.load(MODEL), quiet=True), fitted


def number(value: float) -> str:
    """A cell of a table."""
    return "-" if np.isnan(value) else f"{value:.3f}"


def main() -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory() as folder:
        files = write_all(Path(folder))
        rows, fitted = masses(list(files.values()))
    print("| format | mass | 90 % interval | fit of Mg II | S/N | flags, or the reason |\n|---|---|---|---|---|---|")
    for name, row, fit in zip(files, rows.to_dict("records"), fitted.to_dict("records"), strict=True):
        width = "-" if np.isnan(row["LMBH"]) else f"{row['LMBH_LOW']:.3f} to {row['LMBH_HIGH']:.3f}"
        words = row["FLAGS"] or row["REASON"].split(":")[0] or "none"
        cells = [name, number(row["LMBH"]), width, number(fit["LMBH_MgII"]), number(row["SN"]), words]
        print(f"| {' | '.join(cells)} |")
    real = os.environ.get("QUASAR_MASS_REAL_DATA")
    if not real:
        return
    print(
        "\n| real spectra | read | mass by `predict` | by `virial` | from Mg II | flagged |\n|---|---|---|---|---|---|"
    )
    for name, title in (("sdss", "SDSS-I to IV, 0.3 < z < 3.4"), ("sdss_rm017", "26 epochs of one quasar, z = 0.456")):
        rows, fitted = masses([Path(real) / name])
        counts = [
            (~rows["REASON"].str.startswith(("missing", "unreadable", "invalid"))).sum(),
            rows["LMBH"].notna().sum(),
            fitted["LMBH"].notna().sum(),
            fitted["LMBH_MgII"].notna().sum(),
            (fitted["FLAGS"] != "").sum(),
        ]
        print(f"| {title}: {len(rows)} | {' | '.join(map(str, counts))} |")
        print(f"{name}: {mass_table.count_reasons(rows)}", file=sys.stderr)
    mass, error = fitted["LMBH_MgII"], fitted["LMBH_MgII_ERR"]
    print(
        f"\nThe 26 epochs: mean log M from Mg II {mass.mean():.3f}, standard deviation {mass.std():.3f} dex, "
        f"median quoted error {error.median():.3f} dex."
    )


if __name__ == "__main__":
    main()
