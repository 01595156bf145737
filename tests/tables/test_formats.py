"""Tables for other programs: what astropy and TOPCAT show of units and descriptions, and outputs that are refused."""

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.table import Table

from quasar_mass.core.errors import FileError
from quasar_mass.tables import formats

COLUMNS = {
    "EPOCH": ("", "plate-mjd-fiber of the spectrum"),
    "LMBH": ("dex(Msun)", "predicted log10(M_BH / M_Sun)"),
    "LMBH_ENS_STD": ("dex", "standard deviation over the networks"),
    "FWHM_MgII": ("km / s", "a description that is too long for one card of a FITS header, which has 80 characters"),
    "N_EPOCHS": ("", "spectra of the object"),
    "N_SPIKES": ("", "pixels removed as spikes"),
}
UNITS = {"LMBH": "log(solMass)", "LMBH_ENS_STD": "dex", "FWHM_MgII": "km/s"}


@pytest.fixture
def table():
    return pd.DataFrame(
        {
            "EPOCH": ["4000-56000-0001", "é", "a\x1bb"],
            "LMBH": [8.5, np.nan, 9.25],
            "LMBH_ENS_STD": [0.1, 0.2, 0.3],
            "FWHM_MgII": [4000.0, np.nan, np.nan],
            "N_EPOCHS": [1, 2, 3],
            "N_SPIKES": pd.array([4, None, 0], "Int64"),
        }
    )


def test_fits_has_the_cards_from_which_topcat_reads_units_and_descriptions(table, tmp_path):
    formats.write(table, tmp_path / "t.fits", COLUMNS, {"model": "é.h5"})
    header = fits.getheader(tmp_path / "t.fits", 1)
    numbers = {header[f"TTYPE{number}"]: number for number in range(1, header["TFIELDS"] + 1)}
    assert list(numbers) == list(COLUMNS)
    for name, (_, description) in COLUMNS.items():
        assert header[f"TCOMM{numbers[name]}"] == description
        assert header.get(f"TUNIT{numbers[name]}") == UNITS.get(name)
    assert header[f"TUCD{numbers['LMBH']}"] == "phys.mass"
    assert header["MODEL"] == r"\xe9.h5"


@pytest.mark.parametrize("ending", list(formats.ENDINGS))
def test_astropy_reads_back_values_units_and_descriptions(table, tmp_path, ending):
    path = tmp_path / f"t{ending}"
    formats.write(table, path, COLUMNS, {"model": "m.h5"})
    # no unit of a logarithm is known to astropy's reader of FITS, which else warns of it
    how = {"unit_parse_strict": "silent"} if ending == ".fits" else {}
    read = Table.read(path, **how)
    assert read.colnames == list(COLUMNS)
    for name in ("LMBH", "FWHM_MgII", "N_EPOCHS", "N_SPIKES"):
        expected = table[name].to_numpy(float, na_value=np.nan)
        np.testing.assert_array_equal(np.ma.filled(read[name].astype(float), np.nan), expected)
    assert read["N_EPOCHS"].dtype.kind == "i"
    assert read["N_SPIKES"].dtype.kind == ("f" if ending == ".parquet" else "i")  # pandas reads null as NaN anyway
    formats.write(table.drop(index=1), path, COLUMNS, {})
    read = Table.read(path, **how)
    assert (read["N_SPIKES"].tolist(), read["N_SPIKES"].dtype.kind) == ([4, 0], "i")
    assert str(read["EPOCH"][0]) == "4000-56000-0001"
    if ending != ".csv":
        log = "log(solMass)" if ending in (".fits", ".vot") else "dex(solMass)"
        assert str(read["LMBH"].unit) == log
        assert str(read["FWHM_MgII"].unit) == "km / s"
        assert " ".join(read["FWHM_MgII"].description.split()) == COLUMNS["FWHM_MgII"][1]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_an_output_that_cannot_be_written_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "folder.fits").mkdir()
    for name, message in {
        "t.txt": r"must end in \.parquet, \.fits, \.vot, \.ecsv or \.csv",
        "folder.fits": "is a folder",
        "new/folder/t.fits": r"there is no folder .*new/folder; create it",
    }.items():
        with pytest.raises(FileError, match=message):
            formats.check_output(tmp_path / name)
    assert [file.name for file in tmp_path.iterdir()] == ["folder.fits"]
