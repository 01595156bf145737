"""Spec files, damaged in every way: what is read is what astropy reads of the same bytes, or nothing."""

import functools
import io
import warnings

import numpy as np
import pytest
import watch
from astropy.io import fits
from mutations import Case, fits_damage

from quasar_mass.core.survey import Survey
from quasar_mass.simulation import simulated_survey
from quasar_mass.spectra.read import read as read_spectrum


def decoded(content: bytes, original: dict | None = None) -> dict:
    """The same bytes, read with astropy alone; the row of HDU 2 from the original where astropy gives it up."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(io.BytesIO(content), memmap=False) as hdus:
            header = hdus[0].header
            assert all(hdus[number].header["TFIELDS"] < 1000 for number in (1, 2)), "more than FITS allows"
            assert hdus[2].header["NAXIS2"] == 1, "HDU 2 has one row"
            coadd = {name: np.array(_column(hdus[1], name)) for name in ("loglam", "flux", "ivar", "and_mask")}
            try:
                row = {name.upper(): np.array(hdus[2].data[name][0]) for name in hdus[2].columns.names}
            except (fits.VerifyError, LookupError, ValueError, TypeError, NameError):  # NameError: its own slip
                if original is None:
                    raise
                row = original["row"]
            extinction = row.get("EXTINCTION", np.zeros(0))
            named = [header.get(key, row.get(column)) for key, column in _NAMED]
            return coadd | {
                "row": row,
                "named": tuple(map(int, named)),
                "z": float(row.get("Z", np.nan)),
                "extinction": float(extinction[1]) if extinction.shape == (5,) else np.nan,
                "class": _text(row.get("CLASS", "")),
                "run2d": _text(row.get("RUN2D", "")) or _text(header.get("RUN2D", "")),
                "simulated": header.get("SIMULATE", False) is True,
            }


_NAMED = (("PLATEID", "PLATE"), ("MJD", "MJD"), ("FIBERID", "FIBERID"))


def _column(hdu, name: str) -> np.ndarray:
    return hdu.data[next(one for one in hdu.columns.names if one.lower() == name)]


def _text(value) -> str:
    return str(value).strip(" \0")


def agrees(spectrum, truth: dict) -> None:
    """Nothing that was read differs from what astropy reads."""
    np.testing.assert_array_equal(spectrum.pixel, np.rint(truth["loglam"].astype(float) / 1e-4))
    assert np.abs(truth["loglam"].astype(float) / 1e-4 - spectrum.pixel).max() < 0.06
    np.testing.assert_array_equal(spectrum.flux, truth["flux"])
    np.testing.assert_array_equal(spectrum.ivar, truth["ivar"])
    np.testing.assert_array_equal(spectrum.mask, truth["and_mask"] & (1 << 23) != 0)
    assert spectrum.flux.shape == spectrum.ivar.shape == spectrum.mask.shape == spectrum.pixel.shape
    assert (np.diff(spectrum.pixel) > 0).all()
    assert np.isfinite(spectrum.ivar).all()
    assert (spectrum.ivar >= 0).all()
    assert np.isfinite(spectrum.flux[spectrum.ivar > 0]).all()
    assert spectrum.spec_id == "{:04d}-{:05d}-{:04d}".format(*truth["named"])
    assert spectrum.redshift == truth["z"] or np.isnan([spectrum.redshift, truth["z"]]).all()
    ebv = truth["extinction"] / 3.303 if truth["extinction"] > 0 else np.nan
    assert spectrum.ebv == pytest.approx(ebv, rel=1e-6, nan_ok=True)
    assert (spectrum.spectral_class, spectrum.run2d) == (truth["class"], truth["run2d"])
    assert spectrum.kind == ("simulated" if truth["simulated"] else "sdss")


@pytest.fixture(scope="module")
def originals(make, tmp_path_factory, request) -> dict[str, bytes]:
    """Undamaged files: of the test's own writer, of the package's, and real ones where there are some."""
    folder = tmp_path_factory.mktemp("spec")
    simulated_survey.simulate(Survey(folder / "survey"), objects=1, seed=1, quiet=True)
    (simulated, *_) = sorted((folder / "survey").rglob("spec-*.fits"))
    files = {
        "lite": make.spec(folder / "a.fits").read_bytes(),
        "upper case, full, without keys": make.spec(
            folder / "b.fits", upper=True, exposures=2, in_header=False, extnames=False
        ).read_bytes(),
        "simulated": simulated.read_bytes(),
    }
    try:
        real = request.getfixturevalue("real_data") / "sdss"
    except pytest.skip.Exception:
        return files
    every = [*sorted(real.glob("[0-2]*/*.fits"))[:2], *sorted(real.glob("[37]*/*.fits"))[-2:]]
    return files | {path.name: path.read_bytes() for path in every}


def try_one(path, content: bytes, kind: str, original: dict) -> None:
    path.write_bytes(content)
    spectrum = watch.attempt("spec files", lambda: read_spectrum(path))
    if spectrum is None:
        return
    agrees(spectrum, decoded(content, original))
    watch.note("spec files", kind)


@pytest.mark.parametrize("examples", [70, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_damaged_spec_file_is_read_as_astropy_reads_it_or_refused(originals, tmp_path, examples):
    path = tmp_path / "spec.fits"
    for content in originals.values():
        path.write_bytes(content)
        original = decoded(content)
        agrees(read_spectrum(path), original)

        def check(case: Case, original: dict) -> None:
            changed = case.damaged()
            try_one(path, changed, "unchanged" if changed == case.content else "as astropy", original)

        watch.fuzz(functools.partial(check, original=original), fits_damage(content), examples)
