"""DESI's coadd and spectra files: which targets, their redshifts, and spectra combined from arms and exposures."""

import gzip

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.table import Table
from desi_files import Target, wavelength, write_redrock, write_spectra

from quasar_mass.core.errors import FileError, SpectrumError, TableError
from quasar_mass.spectra import desi
from quasar_mass.spectra.read import SpectrumRequest, read, read_one
from quasar_mass.spectra.requests import resolve
from quasar_mass.spectra.rest_frame import prepare

FIRST = 39633345008634465  # float64 has no room for its last digit


def targets(n=3, **more) -> list[Target]:
    return [Target(FIRST + number, **more) for number in range(n)]


def written(folder, some, **how):
    """A coadd file with its redshifts beside it."""
    write_redrock(folder / "redrock-main-dark-26065.fits", some)
    return write_spectra(folder / "coadd-main-dark-26065.fits", some, **how)


# --- spectra ----------------------------------------------------------------------------------------------------------


def test_a_coadd_file_gives_its_quasars_with_redshift_extinction_and_names(tmp_path):
    some = [Target(FIRST, redshift=1.55, ebv=0.02), Target(FIRST + 1, spectype="STAR"), Target(FIRST + 2, redshift=1.7)]
    path = written(tmp_path, some, header={"TELESCOP": "KPNO 4.0-m telescope"})
    first, second = read(path)
    assert (first.spec_id, second.spec_id) == (str(FIRST), str(FIRST + 2))
    assert (first.redshift, second.redshift) == (1.55, 1.7)
    assert (first.ebv, second.ebv) == pytest.approx((0.02, 0.03))
    assert (first.kind, first.telescope) == ("desi", "KPNO 4.0-m telescope")
    np.testing.assert_allclose(first.wavelength, np.arange(3600, 9824.1, 0.8))
    assert read(path, target=FIRST + 1).spec_id == str(FIRST + 1)
    assert isinstance(read(written(tmp_path, targets(1))), type(first))


def test_arms_are_combined_by_inverse_variance_where_they_overlap(tmp_path):
    """Beside numbers worked out by hand: 3 with variance 1 and 6 with variance 4 make 3.6 with variance 0.8."""
    low = Target(FIRST, flux=lambda w: np.where(w < 5780, 3.0, 6.0), sigma=lambda w: np.where(w < 5780, 1.0, 2.0))
    path = written(tmp_path, [low], noise=0)
    with fits.open(path, mode="update") as hdus:
        hdus["B_FLUX"].data[:], hdus["B_IVAR"].data[:] = 3.0, 1.0
        hdus["R_FLUX"].data[:], hdus["R_IVAR"].data[:] = 6.0, 0.25
    spectrum = read(path)
    both = (spectrum.wavelength > 5759.9) & (spectrum.wavelength < 5800.1)
    assert both.sum() == 51
    np.testing.assert_allclose(spectrum.flux[both], 3.6)
    np.testing.assert_allclose(spectrum.ivar[both], 1.25)
    np.testing.assert_allclose(spectrum.flux[spectrum.wavelength < 5759.9], 3.0)


def test_exposures_of_a_target_are_combined_and_those_of_bad_fibers_left_out(tmp_path):
    some = [Target(FIRST, status=(0, 8, 1024)), Target(FIRST + 1, status=(0,))]
    write_redrock(tmp_path / "redrock-0-169-thru20210419.fits", some)
    path = write_spectra(tmp_path / "spectra-0-169-thru20210419.fits", some, noise=0)
    with fits.open(path, mode="update") as hdus:
        hdus["B_FLUX"].data[:, :] = np.array([2.0, 4.0, 100.0, 7.0])[:, None]
        hdus["B_IVAR"].data[:, :] = np.array([3.0, 1.0, 9.0, 1.0])[:, None]
    first, second = read(path)
    np.testing.assert_allclose(first.flux[:2000], 2.5)
    np.testing.assert_allclose(first.ivar[:2000], 4.0)
    np.testing.assert_allclose(second.flux[:2000], 7.0)


@pytest.mark.parametrize("mask", ["plain", "compressed", "none"])
def test_any_bit_of_the_mask_is_bad_and_there_may_be_no_mask(tmp_path, mask):
    bits = {5: 1, 6: 1 << 2, 7: 1 << 10, 8: 1 << 31}
    path = written(tmp_path, [Target(FIRST, masked={"B": bits}), Target(FIRST + 1)], mask=mask)
    spectrum, other = read(path)
    assert np.flatnonzero(~spectrum.good).tolist() == ([] if mask == "none" else [5, 6, 7, 8])
    assert other.good.all()


@pytest.mark.parametrize("how", [{"arms": "BZ"}, {"arms": "RZ"}, {"arms": "B"}, {"dead": "R"}, {"dead": "B"}], ids=str)
def test_an_arm_without_data_is_a_gap_and_not_an_end(tmp_path, how):
    arms = how.get("arms", "".join(set("BRZ") - set(how.get("dead", ""))))
    spectrum = read(written(tmp_path, targets(1, dead=how.get("dead", "")), arms=how.get("arms", "BRZ")))
    np.testing.assert_allclose(spectrum.wavelength, np.arange(3600, 9824.1, 0.8))
    seen = np.unique(np.round(np.concatenate([wavelength(arm) for arm in arms]), 3))
    np.testing.assert_allclose(spectrum.wavelength[spectrum.good], seen)
    rebinned = spectrum.on_log_grid()
    low, high = np.log10(spectrum.wavelength[[0, -1]])
    assert (1e-4 * rebinned.pixel[0], 1e-4 * rebinned.pixel[-1]) == pytest.approx((low, high), abs=1e-4)


def test_arms_that_were_combined_before_are_taken_as_they_are(tmp_path):
    path = written(tmp_path, targets(1), together=True, noise=0)
    single = write_spectra(tmp_path / "single.fits", targets(1))
    both = tmp_path / "coadd-main-dark-1.fits"  # which has the same light twice
    write_redrock(tmp_path / "redrock-main-dark-1.fits", targets(1))
    with fits.open(path) as hdus, fits.open(single) as others:
        fits.HDUList([*hdus, *others[3:]]).writeto(both)
    for spectrum in (read(path), read(both)):
        assert len(spectrum.wavelength) == 7781
        np.testing.assert_allclose(spectrum.flux, 3.0)
        np.testing.assert_allclose(spectrum.ivar, 4.0)


def test_hdus_are_found_by_name_and_columns_may_be_missing(tmp_path):
    path = written(tmp_path, targets(2), order=lambda hdus: hdus[::-1], drop=("OBJTYPE", "EBV", "COADD_FIBERSTATUS"))
    first, _ = read(path)
    assert np.isnan(first.ebv)
    assert np.isnan(read(written(tmp_path, targets(1, ebv=0.0))).ebv)  # a target without photometry
    first, _ = read(written(tmp_path, targets(2), drop=("OBJTYPE", "EBV", "COADD_FIBERSTATUS")))
    assert first.good.all()
    assert np.median(first.flux) == pytest.approx(3.0, abs=0.1)


def test_pixels_without_numbers_are_bad(tmp_path):
    path = written(tmp_path, targets(1))
    with fits.open(path, mode="update") as hdus:
        hdus["B_FLUX"].data[0, 10], hdus["B_FLUX"].data[0, 11] = np.nan, np.inf
        hdus["B_IVAR"].data[0, 12], hdus["B_IVAR"].data[0, 13] = -1.0, np.nan
    spectrum = read(path)
    assert np.flatnonzero(~spectrum.good).tolist() == [10, 11, 12, 13]
    assert np.isfinite(spectrum.flux).all()


def test_packed_files_are_the_same(tmp_path):
    some = targets(2)
    plain = read(written(tmp_path, some))
    packed = tmp_path / "packed" / "coadd-main-dark-26065.fits.gz"
    packed.parent.mkdir()
    packed.write_bytes(gzip.compress((tmp_path / "coadd-main-dark-26065.fits").read_bytes()))
    write_redrock(packed.with_name("redrock-main-dark-26065.fits"), some)
    for one, other in zip(plain, read(packed), strict=True):
        np.testing.assert_array_equal(one.flux, other.flux)
        np.testing.assert_array_equal(one.ivar, other.ivar)


def test_noise_keeps_its_size_on_the_global_grid(tmp_path):
    """Chi-squared of rebinned noise is 1 in every arm and where arms overlap; what may be summed is conserved."""
    some = targets(24, flux=lambda w: 0.0 * w, sigma=lambda w: 0.3 + 0.2 * (w / 9000) ** 3)
    chi2, ends = [], np.array([3620, 5760, 5800, 7520, 7620, 9800])
    for spectrum in read(written(tmp_path, some)):
        grid = spectrum.on_log_grid()
        part = np.digitize(grid.wavelength, ends)
        chi2.append([np.mean(grid.flux[part == k] ** 2 * grid.ivar[part == k]) for k in range(1, 6)])
        inside = (spectrum.wavelength > 4000) & (spectrum.wavelength < 9000)
        within = (grid.wavelength > 4000) & (grid.wavelength < 9000)
        assert grid.weight[within].sum() == pytest.approx(spectrum.ivar[inside].sum(), rel=2e-3)
    mean = np.mean(chi2, axis=0)
    np.testing.assert_allclose(mean, 1.0, atol=5 * np.std(chi2, axis=0).max() / np.sqrt(len(chi2)))


# --- which targets ----------------------------------------------------------------------------------------------------


def test_targets_are_counted_by_what_they_are(tmp_path):
    some = [
        Target(FIRST),
        Target(FIRST + 1, warning=4),
        Target(FIRST + 2, status=(1024,)),
        Target(FIRST + 3, spectype="GALAXY"),
        Target(FIRST + 4, spectype="GALAXY"),
        Target(FIRST + 5, spectype="STAR"),
        Target(-5, kind="SKY"),
    ]
    path = written(tmp_path, some)
    requests, (note,) = resolve([path])
    assert note == f"{path.name}: 3 quasars of 7 targets; left out: 2 GALAXY, 1 STAR, 1 sky"
    assert [request.target for request in requests] == [FIRST, FIRST + 1, FIRST + 2]
    assert read_one(requests[1]).notes == ("ZWARN 4",)
    assert read_one(resolve([path], redshift=1.6)[0][1]).notes == ()  # it doubts a redshift that is not used
    with pytest.raises(SpectrumError, match="FIBERSTATUS 1024") as caught:
        read_one(requests[2])
    assert caught.value.reason == "bad fiber"
    assert [spectrum.notes for spectrum in read(path)] == [(), ("ZWARN 4",)]
    with pytest.raises(SpectrumError, match="holds no target 7"):
        read(path, target=7)
    with pytest.raises(SpectrumError, match="say which one"):
        read_one(SpectrumRequest(path))


def test_files_without_redshifts_say_what_to_give(tmp_path):
    path = write_spectra(tmp_path / "coadd-main-dark-26065.fits", targets(2))
    with pytest.raises(SpectrumError, match=r"redrock-main-dark-26065\.fits is not beside it.* --redshifts FILE"):
        read(path)
    with pytest.raises(SpectrumError, match="is not beside it"):
        resolve([path])
    (request,) = resolve([path, path])[0][:1]  # of several files, the others have their turn
    assert prepare(request).reason.startswith("no redshift: has 2 targets and no redshifts")
    requests, _ = resolve([path], redshift=1.62, ebv=0.1)
    assert [(request.redshift, request.ebv) for request in requests] == [(1.62, 0.1)] * 2
    write_redrock(tmp_path / "zbest-main-dark-26065.fits", targets(2, redshift=1.5), name="ZBEST")  # the older name
    assert [spectrum.redshift for spectrum in read(path)] == [1.5, 1.5]
    (tmp_path / "redrock-main-dark-26065.fits").write_bytes(b"damaged")
    with pytest.raises(SpectrumError, match=r"its redshifts: redrock-main-dark-26065\.fits is not a table"):
        read(path)
    with pytest.raises(SpectrumError, match="holds redshifts and no spectra"):
        read(write_redrock(tmp_path / "redrock-main-dark-26065.fits", targets(2)))


@pytest.mark.parametrize("ending", ["fits", "csv", "ecsv", "vot", "parquet"])
def test_redshifts_come_from_a_table_of_any_format(tmp_path, ending):
    path = written(tmp_path, targets(3))
    name = tmp_path / f"catalogue.{ending}"
    columns = {"TARGETID": [FIRST + 2, 7, FIRST], "z": [1.71, 0.5, 1.52], "ZWARN": [0, 0, 8]}
    if ending == "parquet":
        pd.DataFrame(columns).to_parquet(name)
    else:
        kinds = {"fits": "fits", "csv": "ascii.csv", "ecsv": "ascii.ecsv", "vot": "votable"}
        Table(columns).write(name, format=kinds[ending])
    first, second = read(path, redshifts=name)
    assert [(spectrum.spec_id, spectrum.redshift, spectrum.notes) for spectrum in (first, second)] == [
        (str(FIRST), 1.52, ("ZWARN 8",)),
        (str(FIRST + 2), 1.71, ()),
    ]
    texts = columns | {"TARGETID": [f"{FIRST + 2}", "", f"{FIRST}"]}  # as some tables have it
    pd.DataFrame(texts).to_parquet(tmp_path / "texts.parquet")
    assert [spectrum.redshift for spectrum in read(path, redshifts=tmp_path / "texts.parquet")] == [1.52, 1.71]


def test_a_catalogue_of_quasars_counts_more_than_redrock_s_class(tmp_path):
    path = written(tmp_path, targets(3))
    columns = {"TARGETID": [FIRST, FIRST + 1, FIRST + 2], "Z": [1.5, 1.6, 1.7], "SPECTYPE": ["QSO", "GALAXY", "QSO"]}
    Table(columns).write(tmp_path / "zcatalog.fits")
    assert len(read(path, redshifts=tmp_path / "zcatalog.fits")) == 2
    Table(columns | {"QSO_MASKBITS": [2, 4, 0]}).write(tmp_path / "QSO_cat.fits")
    assert [spectrum.redshift for spectrum in read(path, redshifts=tmp_path / "QSO_cat.fits")] == [1.5, 1.6]


def test_of_several_rows_of_a_target_that_of_the_file_s_survey_and_program_counts(tmp_path):
    path = written(tmp_path, targets(2))
    columns = {"TARGETID": [FIRST, FIRST, FIRST + 1], "Z": [0.3, 1.6, 1.7]}
    Table(columns | {"SURVEY": ["sv1", "main", "sv3"], "PROGRAM": ["dark"] * 3}).write(tmp_path / "zall-pix.fits")
    assert [spectrum.redshift for spectrum in read(path, redshifts=tmp_path / "zall-pix.fits")] == [1.6, 1.7]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("TARGETID,SPECTYPE\n1,QSO\n", "needs a column Z"),
        ("Z,RA\n1,2\n", "needs a column Z"),
        ("Z,EPOCH\n1,1-2-3\n", "TARGETID"),
    ],
)
def test_tables_that_lack_something_say_what(tmp_path, text, words):
    path = written(tmp_path, targets(1))
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(TableError, match=words):
        read(path, redshifts=tmp_path / "table.csv")


def test_a_target_of_another_kind_of_file_is_refused(simulated):
    with pytest.raises(SpectrumError, match="is no file of DESI's targets; leave out"):
        read(simulated[0], target=FIRST)


def test_a_folder_is_no_table_of_redshifts(tmp_path):
    with pytest.raises(FileError, match="is a folder; name a table in it"):
        read(written(tmp_path, targets(2)), redshifts=tmp_path)


def test_a_file_without_quasars_says_what_is_in_it(tmp_path):
    path = written(tmp_path, targets(2, spectype="STAR"))
    with pytest.raises(FileError, match=r"fits: 0 quasars of 2 targets; left out: 2 STAR; name other files"):
        resolve([path])
    assert read(path) == []


def test_other_tables_and_doubled_spectra_of_a_folder_are_left_out(tmp_path):
    names = [
        "coadd-main-dark-1.fits",
        "spectra-main-dark-1.fits",
        "spectra-main-dark-2.fits",
        "redrock-main-dark-1.fits",
    ]
    names += ["emline-main-dark-1.fits", "qso_mgii-main-dark-1.fits", "qso_qn-main-dark-1.fits", "spec-1-2-3.fits"]
    kept = desi.without_tables(tmp_path / name for name in names)
    assert [file.name for file in kept] == ["coadd-main-dark-1.fits", "spectra-main-dark-2.fits", "spec-1-2-3.fits"]


# --- damaged files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.99])
def test_a_file_that_is_cut_short_says_so(tmp_path, fraction):
    path = written(tmp_path, targets(2))
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(SpectrumError, match=r"cut off|no HDU") as caught:
        read(path)
    assert caught.value.reason == "unreadable file"


def test_arrays_that_do_not_fit_together_are_refused(tmp_path):
    path = written(tmp_path, targets(2))
    with fits.open(path) as hdus:
        hdus["R_IVAR"].data = hdus["R_IVAR"].data[:, :-1]
        hdus.writeto(tmp_path / "coadd-main-dark-1.fits")
    write_redrock(tmp_path / "redrock-main-dark-1.fits", targets(2))
    with pytest.raises(SpectrumError, match="R_IVAR of shape"):
        read(tmp_path / "coadd-main-dark-1.fits")
