"""Tables of one spectrum: the same spectrum in every format, layout and unit is the same `Spectrum`."""

import gzip
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from astropy import units
from astropy.io import fits
from astropy.table import QTable, Table
from astropy.utils.masked import Masked
from hypothesis import given, settings
from hypothesis import strategies as st
from sparcl_stand_in import desi_record, sdss_record
from spectrum_tables import FORMATS, write

from quasar_mass.core.errors import SpectrumError
from quasar_mass.fetch.sparcl_targets import as_table
from quasar_mass.spectra.column_names import wavelength_name
from quasar_mass.spectra.read import read as read_spectrum
from quasar_mass.spectra.rest_frame import prepare, spectrum_flags
from quasar_mass.spectra.sparcl_record import spectrum_of
from quasar_mass.spectra.units import parse, vacuum

N = 60
WAVELENGTH = 3600.0 + 1.25 * np.arange(N)
FLUX = 5.0 + np.sin(np.arange(N) / 7.0)
ERROR = 0.2 + 0.01 * np.cos(np.arange(N) / 3.0)
ERROR[7] = 0.0  # no data
GOOD = ERROR > 0
IVAR = np.where(GOOD, 1.0 / np.where(GOOD, ERROR, 1.0) ** 2, 0.0)
FLUX_UNIT = "1e-17 erg/s/cm2/Angstrom"
ASSUMED = "units assumed: Angstrom, 1e-17 erg/s/cm2/A"
NO_NAMES = "columns assumed: wavelength, flux, error"


def agrees(spectrum, rtol: float = 1e-12) -> None:
    np.testing.assert_allclose(spectrum.wavelength, WAVELENGTH, rtol=rtol)
    np.testing.assert_array_equal(spectrum.good, GOOD)
    np.testing.assert_allclose(spectrum.flux[GOOD], FLUX[GOOD], rtol=rtol)
    np.testing.assert_allclose(spectrum.ivar, IVAR, rtol=4 * rtol)


def refusal(path: Path) -> str:
    """Why a file is refused, after making sure that it is one sentence, and that no warning came with it."""
    with warnings.catch_warnings(record=True) as leaked:
        warnings.simplefilter("always")
        with pytest.raises(SpectrumError) as caught:
            read_spectrum(path)
    assert [str(warning.message) for warning in leaked] == []
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value.message


every_format = pytest.mark.parametrize("ending", FORMATS)


@every_format
def test_every_format_gives_the_same_spectrum_and_says_what_was_assumed(tmp_path, ending):
    columns = {"wavelength": WAVELENGTH, "flux": FLUX, "error": ERROR}
    spectrum = read_spectrum(write(tmp_path, ending, columns, z=1.62, **{"E(B-V)": 0.03}))
    agrees(spectrum)
    assert (spectrum.redshift, spectrum.ebv, spectrum.notes, spectrum.kind) == (1.62, 0.03, (ASSUMED,), "unknown")
    assert spectrum.spec_id == f"J0001.{ending}".rsplit(".", 1)[0]


@every_format
def test_every_format_is_read_in_the_units_that_it_states(tmp_path, ending):
    columns = {"ivar": IVAR * 1e-2, "Flux": FLUX * 10.0, "WAVE": WAVELENGTH / 10.0}
    stated = {"WAVE": "nm", "Flux": "1e-18 erg/(s cm2 Angstrom)", "ivar": "1e36 cm4 s2 Angstrom2 / erg2"}
    spectrum = read_spectrum(write(tmp_path, ending, columns, stated))
    agrees(spectrum, 1e-11)
    assert spectrum.notes == ()
    assert np.isnan([spectrum.redshift, spectrum.ebv]).all()


def test_tables_of_quantities_are_read(tmp_path):
    flux = units.Quantity(FLUX * 10, "1e-18 erg / (s cm2 AA)")
    columns = {"wavelength": WAVELENGTH / 10 * units.nm, "flux": flux, "err": ERROR * 10 * flux.unit}
    QTable(columns).write(tmp_path / "quantities.ecsv")
    agrees(read_spectrum(tmp_path / "quantities.ecsv"))
    QTable(columns | {"flux": Masked(flux, mask=np.arange(N) == 7)}).write(tmp_path / "masked.ecsv")
    agrees(read_spectrum(tmp_path / "masked.ecsv"))
    QTable(columns).write(tmp_path / "quantities.fits")
    agrees(read_spectrum(tmp_path / "quantities.fits"))


def test_a_fits_table_with_something_else_behind_it_is_damaged(tmp_path):
    path = write(tmp_path, "fits", {"wavelength": WAVELENGTH, "flux": FLUX, "ivar": IVAR})
    content = path.read_bytes()
    path.write_bytes(content + bytes(2880))
    agrees(read_spectrum(path))
    path.write_bytes(content + b"x" * 2880)
    with pytest.raises(SpectrumError, match="damaged: behind HDU 1"):
        read_spectrum(path)


@pytest.mark.parametrize("ending", ["csv", "ecsv", "fits", "vot", "npz"])
def test_packed_files_are_read_by_their_content(tmp_path, ending):
    columns = {"wavelength": WAVELENGTH, "flux": FLUX, "error": ERROR}
    packed = tmp_path / f"J0002.{ending}.gz"
    packed.write_bytes(gzip.compress(write(tmp_path, ending, columns).read_bytes()))
    agrees(read_spectrum(packed))
    assert read_spectrum(packed).spec_id == "J0002"


# --- units: the oracle is the definition of each, in numbers ----------------------------------------------------------
C = 2.99792458e18  # Angstrom / s
PER_JY = 1e-23  # erg / s / cm2 / Hz


@pytest.mark.parametrize(
    ("unit", "flux_in_it"),
    [
        ("erg/s/cm^2/A", FLUX * 1e-17),
        ("10**-17 erg/(s cm2 Angstrom)", FLUX),
        ("1E-17 erg/cm^2/s/Ang", FLUX),
        ("10^-17 ergs/s/cm^2/A", FLUX),
        ("W/m2/um", FLUX * 1e-17 * 1e-7 * 1e4 * 1e4),
        ("W m-2 nm-1", FLUX * 1e-17 * 1e-7 * 1e4 * 10),
        ("mJy", FLUX * 1e-17 * WAVELENGTH**2 / C / PER_JY * 1e3),
        ("erg/s/cm2/Hz", FLUX * 1e-17 * WAVELENGTH**2 / C),
    ],
)
@pytest.mark.parametrize(("kind", "power"), [("error", 1), ("variance", 2)])
def test_fluxes_by_wavelength_and_frequency_are_converted_and_their_errors_with_them(
    tmp_path, unit, flux_in_it, kind, power
):
    columns = {"wave": WAVELENGTH, "flux": flux_in_it, kind: (ERROR * flux_in_it / FLUX) ** power}
    stated = {"wave": "Angstrom", "flux": unit}
    spectrum = read_spectrum(write(tmp_path, "csv", columns, stated))
    agrees(spectrum, 1e-8)
    assert spectrum.notes == ()


@pytest.mark.parametrize(
    ("unit", "values"),
    [("um", WAVELENGTH * 1e-4), ("Hz", C / WAVELENGTH), ("eV", 12398.419843320 / WAVELENGTH), ("Ångström", WAVELENGTH)],
)
def test_any_axis_with_a_unit_that_gives_wavelengths_is_taken_and_sorted(tmp_path, unit, values):
    name = {"Hz": "frequency", "eV": "energy"}.get(unit, "lambda")
    columns = {name: values, "flux": FLUX, "error": ERROR}
    agrees(read_spectrum(write(tmp_path, "ecsv", columns, {name: unit, "flux": FLUX_UNIT})), 1e-9)


@pytest.mark.parametrize(
    ("unit", "ivar"),
    [
        ("(erg/(s cm2 Angstrom))**-2", IVAR * 1e34),
        ("1/(erg/s/cm^2/A)^2", IVAR * 1e34),
        ("1e36 (erg/(s cm2 Angstrom))-2", IVAR * 1e-2),
        ("10**34 s2 cm4 Angstrom2 / erg2", IVAR),
        ("mJy-2", IVAR / (1e-17 * WAVELENGTH**2 / C / PER_JY * 1e3) ** 2),
    ],
)
def test_an_inverse_variance_in_a_unit_of_its_own_is_converted_by_it(tmp_path, unit, ivar):
    columns = {"wave": WAVELENGTH, "flux": FLUX, "ivar": ivar}
    spectrum = read_spectrum(write(tmp_path, "csv", columns, {"wave": "AA", "flux": FLUX_UNIT, "ivar": unit}))
    agrees(spectrum, 1e-8)
    assert spectrum.notes == ()


def test_units_that_do_not_fit_are_refused_and_an_unreadable_one_of_the_error_is_said(tmp_path):
    columns, stated = {"wave": WAVELENGTH, "flux": FLUX, "ivar": IVAR}, {"wave": "AA", "flux": FLUX_UNIT}
    unread = read_spectrum(write(tmp_path, "vot", columns, stated | {"ivar": "1/flux2"}))
    agrees(unread)
    assert unread.notes == ("unit of ivar not understood: that of the flux assumed",)
    for role, unit, words in (
        ("flux", "ct", "is in ct, which is no unit of flux density"),
        ("flux", "brightness", "the unit 'brightness', which cannot be read"),
        ("ivar", FLUX_UNIT, "which is no unit of flux density"),
        ("wave", "s", "has wavelengths in s, which is no unit of them"),
    ):
        assert words in refusal(write(tmp_path, "csv", columns, stated | {role: unit}))


@pytest.mark.parametrize("name", ["loglam", "LOG_WAVELENGTH", "log10_wave"])
def test_logarithms_are_taken_where_the_name_or_the_unit_says_so(tmp_path, name):
    columns = {name: np.log10(WAVELENGTH), "flux": FLUX, "ivar": IVAR}
    agrees(read_spectrum(write(tmp_path, "fits", columns)))
    columns = {"wave": np.log10(WAVELENGTH), "flux": FLUX, "ivar": IVAR}
    agrees(read_spectrum(write(tmp_path, "csv", columns, {"wave": "log(Angstrom)"})))
    assert "these look like logarithms" in refusal(write(tmp_path, "txt", columns))


def test_units_are_read_as_people_write_them():
    ours = units.Unit("1e-17 erg / (s cm2 AA)")
    for text in (
        "10^{-17} erg s^{-1} cm^{-2} A^{-1}",
        "1e-17erg/s/cm2/AA",
        "10**(-17)erg/cm**2/s/Angstrom",
        "10-17 erg cm-2 s-1 A-1",
    ):
        assert parse(text)[0].to(ours) == pytest.approx(1.0)
    for text in ("", "ct", "m", "mag", "adu"):
        assert not parse(text)[0].is_equivalent(ours)
    with pytest.raises(ValueError, match="cannot be read"):
        parse("furlongs per fortnight")


# --- air --------------------------------------------------------------------------------------------------------------
# Pairs in air and in vacuum of the Vienna Atomic Line Database's documentation and of IDL's astronomy library
KNOWN = [(4861.363, 4862.721), (6562.801, 6564.614), (5006.843, 5008.240)]


@pytest.mark.parametrize(("air", "in_vacuum"), KNOWN)
def test_wavelengths_in_air_are_converted_to_vacuum(air, in_vacuum):
    assert vacuum(np.array([air]))[0] == pytest.approx(in_vacuum, abs=3e-3)


@pytest.mark.parametrize("way", ["name", "key", "comment", "ucd", "header"])
def test_air_is_known_by_name_key_comment_and_ucd(tmp_path, way):
    name = "wavelength_air" if way == "name" else "wavelength"
    columns = {name: WAVELENGTH, "flux": FLUX, "ivar": IVAR}
    path = write(
        tmp_path, "fits" if way in ("ucd", "header") else "csv", columns, **({"medium": "air"} if way == "key" else {})
    )
    if way == "comment":
        path.write_text("# All wavelengths are in air, heliocentric\n" + path.read_text())
    if way == "ucd":
        fits.setval(path, "TUCD1", value="em.wl;obs.atmos", ext=1)
    if way == "header":
        fits.setval(path, "AIRORVAC", value="air")
    np.testing.assert_allclose(read_spectrum(path).wavelength, vacuum(WAVELENGTH), rtol=1e-12)


def test_vacuum_is_not_taken_for_air(tmp_path):
    columns = {"wavelength": WAVELENGTH, "flux": FLUX, "ivar": IVAR}
    path = write(tmp_path, "csv", columns, airmass=1.2)
    path.write_text("# wavelengths converted from air to vacuum\n" + path.read_text())
    agrees(read_spectrum(path))
    both = {"wave_air": WAVELENGTH - 1.0, "wave_vac": WAVELENGTH, "flux": FLUX, "ivar": IVAR}
    agrees(read_spectrum(write(tmp_path, "txt", both)))


# --- layouts ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("comment", ["", "# a spectrum\n", "# my own data here\n\n"])
def test_a_text_without_names_has_wavelength_flux_and_error(tmp_path, comment):
    path = tmp_path / "s.txt"
    rows = "\n".join(
        f" {w!r}  {f!r}  {e!r}" for w, f, e in zip(*map(np.ndarray.tolist, (WAVELENGTH, FLUX, ERROR)), strict=True)
    )
    path.write_text(comment + rows)
    spectrum = read_spectrum(path)
    agrees(spectrum)
    assert spectrum.notes == (NO_NAMES, ASSUMED)


@pytest.mark.parametrize(
    "header",
    [
        "# Wavelength, Flux, Inverse Variance",
        "# wave(A) flux(1e-17erg/s/cm2/A) ivar",
        "Wavelength [Angstrom]; Flux Density [1e-17 erg/(s cm2 A)]; Inverse Variance",
        "# written by hand, on a Friday\n# lambda\tf_lambda\tinvvar\n# the end",
        '"wave" "flux" "ivar"',
        "wave flux ivar\n---- ---- ----",
    ],
)
def test_headers_of_columns_of_blanks_are_read_as_people_write_them(tmp_path, header):
    rows = zip(*map(np.ndarray.tolist, (WAVELENGTH, FLUX, IVAR)), strict=True)
    path = tmp_path / "s.txt"
    path.write_text(header + "\n" + "\n".join(f"{w!r} {f!r} {i!r}" for w, f, i in rows))
    agrees(read_spectrum(path))


@given(
    order=st.permutations(["wavelength", "flux", "ivar", "sky", "z"]),
    rows=st.permutations(range(N)),
    ending=st.sampled_from(list(FORMATS)),
)
@settings(max_examples=60, deadline=None)
def test_neither_the_order_of_columns_nor_of_rows_matters(tmp_path_factory, order, rows, ending):
    columns = {"wavelength": WAVELENGTH, "flux": FLUX, "ivar": IVAR, "sky": -FLUX, "z": np.full(N, 1.5)}
    shuffled = {name: columns[name][list(rows)] for name in order}
    spectrum = read_spectrum(write(tmp_path_factory.mktemp("table"), ending, shuffled))
    agrees(spectrum)
    assert spectrum.redshift == 1.5


def test_bad_pixels_are_nan_masked_or_marked(tmp_path):
    bad = np.zeros(N, int)
    bad[[3, 4]] = 1, 64
    columns = {"wave": WAVELENGTH, "flux": np.where(np.arange(N) == 20, np.nan, FLUX), "err": ERROR}
    expected = GOOD & (bad == 0) & (np.arange(N) != 20)
    for ending in FORMATS:
        spectrum = read_spectrum(write(tmp_path, ending, columns | {"MASK": bad}))
        np.testing.assert_array_equal(spectrum.good, expected, err_msg=ending)
    masked = Table(columns | {"good": bad == 0}, masked=True)
    masked["err"].mask[30] = True
    masked.write(tmp_path / "masked.ecsv")
    expected[30] = False
    np.testing.assert_array_equal(read_spectrum(tmp_path / "masked.ecsv").good, expected)


def test_of_sdss_s_mask_only_brightsky_counts_and_pypeit_s_marks_good_pixels(tmp_path):
    mask = np.full(N, 1 << 16)
    mask[5] |= 1 << 23
    columns = {"loglam": np.log10(WAVELENGTH), "flux": FLUX, "ivar": IVAR}
    spectrum = read_spectrum(write(tmp_path, "fits", columns | {"and_mask": mask}))
    np.testing.assert_array_equal(spectrum.mask, np.arange(N) == 5)
    path = write(tmp_path, "vectors.fits", columns | {"mask": np.arange(N) != 9})
    fits.setval(path, "DMODCLS", value="OneSpec", ext=1)
    np.testing.assert_array_equal(read_spectrum(path).mask, np.arange(N) == 9)


def test_pixels_without_a_wavelength_are_left_out(tmp_path):
    wavelength = np.append(WAVELENGTH, [0.0, np.nan])
    columns = {"wave": wavelength, "flux": np.append(FLUX, [1, 2]), "err": np.append(ERROR, [1, 2])}
    agrees(read_spectrum(write(tmp_path, "npz", columns)))


def test_a_header_tells_whose_spectrum_it_is(tmp_path):
    columns = {"WAVELENGTH": WAVELENGTH, "FLUX": FLUX, "IVAR": IVAR}
    said = {"Z": 1.7, "TARGETID": 39627835576420141, "SPECTYPE": "GALAXY", "TELESCOP": "KPNO 4.0-m telescope"}
    spectrum = read_spectrum(write(tmp_path, "fits", columns, **said))
    assert (spectrum.spec_id, spectrum.kind, spectrum.redshift) == ("39627835576420141", "desi", 1.7)
    assert (spectrum.spectral_class, spectrum.telescope) == ("GALAXY", "KPNO 4.0-m telescope")
    unknown = read_spectrum(write(tmp_path, "csv", columns, z="unknown", ebv=-999.0))
    assert np.isnan([unknown.redshift, unknown.ebv]).all()
    assert unknown.notes[-1] == "E(B-V) of -999, negative, not used"
    assert not any("E(B-V)" in flag for flag in spectrum_flags(prepare(unknown, ebv=0.1).spectrum))


def test_the_tables_that_fetch_writes_of_sparcl_s_records_are_those_spectra(tmp_path):
    record = desi_record(39627785483846048, "DESI-DR1", 7)
    (tmp_path / "spectrum.fits").write_bytes(as_table(record))
    spectrum, expected = read_spectrum(tmp_path / "spectrum.fits"), spectrum_of(record)
    for name in ("wavelength", "mask", "redshift", "spec_id", "kind", "spectral_class", "telescope"):
        np.testing.assert_array_equal(getattr(spectrum, name), getattr(expected, name), err_msg=name)
    np.testing.assert_allclose(spectrum.flux[spectrum.good], expected.flux[spectrum.good], rtol=1e-6)
    np.testing.assert_allclose(spectrum.ivar, expected.ivar, rtol=1e-6)
    assert spectrum.notes == ()
    (tmp_path / "boss.fits").write_bytes(as_table(sdss_record((7666, 57339, 121), "v5_13_0", "BOSS-DR16", 1)))
    boss = read_spectrum(tmp_path / "boss.fits")
    assert (boss.spec_id, boss.kind) == ("7666-57339-0121", "sdss")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("WAVE", {}),
        ("Observed_Wavelength", {}),
        ("LogLam", {"logarithm": True}),
        ("wave_air", {"air": True}),
        ("lambda_rest", {"rest_frame": True}),
        ("wavelength_nm", {"unit": "nm"}),
        ("freq", {"needs_unit": True}),
    ],
)
def test_names_of_wavelengths(name, what):
    named = wavelength_name(name)
    assert {key: value for key, value in vars(named).items() if value} == what


@pytest.mark.parametrize("name", ["wave_error", "flux", "wavelet", "", "redshift", "linewave", "wave_flux"])
def test_other_names_are_no_wavelengths(name):
    assert wavelength_name(name) is None


# --- what cannot be used: one sentence that says what is missing ------------------------------------------------------
COLUMNS = {"wave": WAVELENGTH, "flux": FLUX, "err": ERROR}


@pytest.mark.parametrize("ending", ["csv", "txt", "ecsv", "fits", "vot", "npz"])
@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("wave", "flux", "x"), "has no error or ivar column; it has wave, flux, x"),
        (("wave", "counts", "ivar"), "has no flux column; it has wave, counts, ivar"),
        (("wave", "a", "b"), "has no flux and no error or ivar column; it has wave, a, b"),
        (
            ("rest_wave", "flux", "ivar"),
            "has no wavelength column; it has rest_wave, flux, ivar; give the wavelengths as",
        ),
        (("freq", "flux", "ivar"), "has no unit of its column freq"),
        (("wave", "fnu", "ivar"), "has no unit of its column fnu"),
    ],
)
def test_what_a_table_lacks_is_said(tmp_path, ending, names, sentence):
    path = write(tmp_path, ending, dict(zip(names, COLUMNS.values(), strict=True)))
    assert refusal(path).startswith(sentence)


def test_a_wavelength_that_comes_twice_is_said(tmp_path):
    columns = {"wave": np.append(WAVELENGTH, 3605.0), "flux": np.append(FLUX, 1), "err": np.append(ERROR, 1)}
    assert refusal(write(tmp_path, "csv", columns)) == "has the wavelength 3605 twice; give each pixel once"


def test_several_spectra_in_one_file_are_refused(tmp_path):
    rows = Table({name: np.tile(values, (3, 1)) for name, values in COLUMNS.items()})
    rows.write(tmp_path / "rows.fits")
    assert refusal(tmp_path / "rows.fits").startswith("holds 3 spectra, one in each row")
    one = fits.BinTableHDU(Table(COLUMNS).as_array())
    fits.HDUList([fits.PrimaryHDU(), one, one.copy()]).writeto(tmp_path / "hdus.fits")
    assert refusal(tmp_path / "hdus.fits").startswith("holds 2 spectra, in its HDUs [1, 2]")


def test_images_texts_and_arrays_that_are_no_spectra_are_refused(tmp_path):
    fits.PrimaryHDU(FLUX).writeto(tmp_path / "image.fits")
    assert "without the errors of its pixels" in refusal(tmp_path / "image.fits")
    fits.PrimaryHDU().writeto(tmp_path / "headers.fits")
    assert refusal(tmp_path / "headers.fits").startswith("is a FITS file of headers alone, without a table")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("notes.txt", "text")
    assert "a zip archive without arrays of NumPy" in refusal(tmp_path / "other.zip")
    np.savez(tmp_path / "pickled.npz", wave=WAVELENGTH, flux=FLUX, err=np.array([None, 1.0], dtype=object))
    assert "holds pickled objects" in refusal(tmp_path / "pickled.npz")
    np.savez(tmp_path / "lengths.npz", wave=WAVELENGTH, flux=FLUX, err=ERROR[1:])
    assert "different lengths: wave 60, flux 60, err 59" in refusal(tmp_path / "lengths.npz")
    np.savetxt(tmp_path / "two.txt", np.column_stack([WAVELENGTH, FLUX]))
    assert refusal(tmp_path / "two.txt") == "has no error or ivar column; it has wavelength, flux"
    (tmp_path / "words.csv").write_text("wave,flux,err\n3600,1,0.1\n3601,bright,0.1\n3602,1,0.1\n")
    assert refusal(tmp_path / "words.csv") == "has text in the column flux; give numbers"
    (tmp_path / "ragged.csv").write_text("wave,flux,err\n3600,1,0.1\n3601,1,0.1,9\n")
    assert "cannot be read as a spectrum" in refusal(tmp_path / "ragged.csv")
    (tmp_path / "short.csv").write_text("wave,flux\n3600,1,0.1\n")
    assert "a header of 2 names above 3 columns" in refusal(tmp_path / "short.csv")


def test_a_votable_whose_data_are_elsewhere_is_not_followed(tmp_path):
    path = write(tmp_path, "vot", COLUMNS)
    start, end = "<TABLEDATA>", "</TABLEDATA>"
    text = path.read_text()
    stream = '<BINARY><STREAM href="file:///etc/hostname"/></BINARY>'
    path.write_text(text[: text.index(start)] + stream + text[text.index(end) + len(end) :])
    assert "its table stands in another file" in refusal(path)
