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

KEYS = ("PLATEID", "MJD", "FIBERID", "RUN2D", "SIMULATE")


def decoded(content: bytes, original: dict | None = None) -> dict:
    """The same bytes, read with astropy alone; the row of SPALL from the original where astropy gives it up."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(io.BytesIO(content), memmap=False) as hdus:
            pixels, summary = named(hdus, ("COADD",), 1), named(hdus, ("SPALL", "SPECOBJ"), 2)
            assert summary.header["NAXIS2"] == 1, "one row"
            used = [name for name in pixels.columns.names if name.lower() in ("loglam", "flux", "ivar", "and_mask")]
            columns = {name.lower(): np.array(pixels.data[name]) for name in used[::-1]}  # the first of one name
            try:
                row = {name.upper(): np.array(summary.data[name][0]) for name in summary.columns.names}
            except (fits.VerifyError, LookupError, ValueError, TypeError, NameError):  # NameError: its own slip
                if original is None:
                    raise
                row = original["row"]
            return {"columns": columns, "row": row, "keys": {key: hdus[0].header.get(key) for key in KEYS}}


def named(hdus: fits.HDUList, names: tuple[str, ...], number: int):
    """The first HDU with one of the names, or else that of the number."""
    try:
        return next((hdu for hdu in hdus if hdu.header.get("EXTNAME") in names), hdus[number])
    except OSError:  # in an HDU behind these
        return hdus[number]


def agrees(spectrum, truth: dict) -> None:
    """Nothing that was read differs from what astropy reads."""
    columns, row, keys = truth["columns"], truth["row"], truth["keys"]
    np.testing.assert_allclose(np.log10(spectrum.wavelength), columns["loglam"], rtol=0, atol=6e-6)
    assert (np.diff(spectrum.wavelength) > 0).all()
    np.testing.assert_array_equal(spectrum.flux, columns["flux"])
    possible = columns["ivar"] <= 1e10  # others are no data
    np.testing.assert_allclose(spectrum.ivar, np.where(possible, columns["ivar"], 0.0), rtol=1e-12)
    np.testing.assert_array_equal(spectrum.mask, columns["and_mask"] & (1 << 23) != 0)
    assert np.isfinite(spectrum.flux[spectrum.ivar > 0]).all()
    names = (("PLATEID", "PLATE"), ("MJD", "MJD"), ("FIBERID", "FIBERID"))
    named = [row.get(name) if keys[key] is None else keys[key] for key, name in names]
    assert spectrum.spec_id == "{:04d}-{:05d}-{:04d}".format(*map(int, named))
    np.testing.assert_equal(spectrum.redshift, float(row.get("Z", np.nan)))
    extinction = row.get("EXTINCTION", np.zeros(0))
    known = extinction.shape == (5,) and extinction[1] > 0
    assert spectrum.ebv == pytest.approx(extinction[1] / 3.303 if known else np.nan, rel=1e-6, nan_ok=True)
    words = [str(value).strip(" \0") for value in (row.get("CLASS", ""), row.get("RUN2D", ""), keys["RUN2D"] or "")]
    assert (spectrum.spectral_class, spectrum.run2d) == (words[0], words[1] or words[2])
    assert spectrum.kind == ("simulated" if keys["SIMULATE"] is True else "sdss")


@pytest.fixture(scope="module")
def originals(make, tmp_path_factory) -> list[bytes]:
    """Undamaged files: lite; full, in upper case, without keys in HDU 0; simulated."""
    folder = tmp_path_factory.mktemp("spec")
    simulated_survey.simulate(Survey(folder / "survey"), objects=1, seed=1, quiet=True)
    paths = [
        make.spec(folder / "lite.fits"),
        make.spec(folder / "full.fits", upper=True, exposures=2, in_header=False, extnames=False),
        next((folder / "survey").rglob("spec-*.fits")),
    ]
    return [path.read_bytes() for path in paths]


@pytest.mark.parametrize("examples", [50, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_damaged_spec_file_is_read_as_astropy_reads_it_or_refused(originals, tmp_path, examples):
    path = tmp_path / "spec.fits"
    for content in originals:
        path.write_bytes(content)
        original = decoded(content)
        agrees(read_spectrum(path), original)

        def check(case: Case, original: dict) -> None:
            changed = case.damaged()
            path.write_bytes(changed)
            spectrum = watch.attempt(lambda: read_spectrum(path))
            if spectrum is None:
                return
            try:
                truth = decoded(changed, original)
            except KeyError:  # a header that astropy cannot pass, before those that count
                truth = original
            agrees(spectrum, truth)

        watch.fuzz(functools.partial(check, original=original), fits_damage(content), examples)
