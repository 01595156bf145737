"""What mutated files brought to light, one by one: each was a traceback, a hang or a wrong number once."""

import io
import json

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits

from quasar_mass.core.errors import FileError, SpectrumError, TableError
from quasar_mass.core.survey import Grid, Survey
from quasar_mass.fetch import manifest
from quasar_mass.network.keras_io.model_checks import shapes
from quasar_mass.predict.inputs import gather
from quasar_mass.spectra.read import read as read_spectrum
from quasar_mass.spectra.rest_frame import to_rest_frame
from quasar_mass.tables import dataset, survey_tables
from quasar_mass.tables.build.pipeline import build
from quasar_mass.tables.catalogs import read_chen, read_dr16q


# --- spec files ---------------------------------------------------------------------------------------------------
def rewritten(path, change):
    with fits.open(path) as hdus:
        parts = [hdu.copy() for hdu in hdus]
    change(parts)
    to = io.BytesIO()
    fits.HDUList(parts).writeto(to)
    path.write_bytes(to.getvalue())
    return path


def with_columns(hdu, **forms):
    """The same table with some columns of another format."""
    columns = []
    for column in hdu.columns:
        form = forms.get(column.name)
        array = hdu.data[column.name] if form is None else np.resize(np.asarray(hdu.data[column.name], "O"), 0)
        columns.append(fits.Column(column.name, form or column.format, array=array if form is None else None))
    return fits.BinTableHDU.from_columns(columns, nrows=len(hdu.data))


def no_rows(parts):
    parts[2] = fits.BinTableHDU(parts[2].data[:0], parts[2].header)


def two_rows(parts):
    parts[2] = fits.BinTableHDU(np.concatenate([parts[2].data, parts[2].data]), parts[2].header)


def scaled(parts):
    place = parts[2].columns.names.index("MJD") + 1
    parts[2].header[f"TZERO{place}"] = 1.0


SPEC_FILES = {
    "no row in HDU 2: its numbers came from the bytes behind": (no_rows, "0 rows"),
    "two rows": (two_rows, "2 rows"),
    "a column with an offset: it was ignored": (scaled, "column MJD"),
    "a reduction that is a number": (lambda p: p.__setitem__(2, with_columns(p[2], RUN2D="J")), "RUN2D"),
    "a mask that is no integer": (lambda p: p.__setitem__(1, with_columns(p[1], and_mask="E")), "and_mask"),
    "a mask of two numbers a pixel": (lambda p: p.__setitem__(1, with_columns(p[1], and_mask="2J")), "and_mask"),
    "flux that is no number": (lambda p: p.__setitem__(1, with_columns(p[1], flux="4A")), "flux"),
    "simulated, perhaps": (lambda p: p[0].header.__setitem__("SIMULATE", 175), "SIMULATE"),
}


@pytest.mark.parametrize("what", SPEC_FILES)
def test_spec_files_that_contradict_themselves_are_refused(tmp_path, make, what):
    change, match = SPEC_FILES[what]
    path = rewritten(make.spec(tmp_path / "spec.fits"), change)
    with pytest.raises(SpectrumError, match=match) as caught:
        read_spectrum(path)
    assert caught.value.reason == "unreadable file"


def test_a_column_described_twice_is_refused(tmp_path, make):
    path = make.spec(tmp_path / "spec.fits")
    content = path.read_bytes()
    assert content.count(b"TTYPE7  = 'Z ") == 1
    place = content.index(b"TTYPE7  = 'Z ")
    path.write_bytes(content[:place] + b"TTYPE6  = 'Z'".ljust(80) + content[place + 80 :])
    with pytest.raises(SpectrumError, match="TTYPE6 twice"):
        read_spectrum(path)
    assert content.count(b"TTYPE3  = 'ZWARNING'") == 1
    path.write_bytes(content.replace(b"TTYPE3  = 'ZWARNING'", b"TTYPE3  = 'MJD     '"))
    with pytest.raises(SpectrumError, match="two columns MJD"):  # the last one was taken
        read_spectrum(path)
    path.write_bytes(content.replace(b"TTYPE5  = 'or_mask ", b"TTYPE5  = 'AND_MASK"))
    with pytest.raises(SpectrumError, match="two columns and_mask"):  # the one of the same case was taken
        read_spectrum(path)


def test_a_name_longer_than_any_file_s_is_a_missing_file():
    with pytest.raises(SpectrumError) as caught:
        read_spectrum("x" * 5000)
    assert caught.value.reason == "missing file"


def test_an_absurd_extinction_is_refused_and_spoils_no_other_spectrum(tmp_path, make):
    spectrum = read_spectrum(make.spec(tmp_path / "spec.fits", extinction=(1e30,) * 5))
    with pytest.raises(SpectrumError) as caught:
        to_rest_frame(spectrum, 1.6, Grid(1e-3), ebv=spectrum.ebv)
    assert caught.value.reason == "invalid values"


# --- catalogues -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("ZVI", "   inf"),
        ("ZVI", "   nan"),
        ("ZVI", "1.5_00"),
        ("Fiber", "  -1"),
        ("Fiber", "   0"),
        ("logMBH-CIV-2", "9e999"),
    ],
)
def test_chen_cells_that_python_reads_as_numbers_and_no_table_means_are_refused(tmp_path, make, label, text):
    row = {"SDSS": make.object_name(1), "Plate": 4000, "MJD": 56000, "Fiber": 1, "ZVI": 1.5, "logMBH-MgII-2": 8.5}
    (tmp_path / "chen.txt").write_text(make.chen_text([row, row | {label: text}]))
    with pytest.raises(FileError, match=f"expected {label}"):
        read_chen(tmp_path / "chen.txt")


def test_a_last_line_cut_within_a_number_is_no_other_number(tmp_path, make):
    row = {"SDSS": make.object_name(1), "Plate": 4000, "MJD": 56000, "Fiber": 1, "ZVI": 1.5, "logMBH-CIV-2": 8.53}
    (tmp_path / "chen.txt").write_text(make.chen_text([row, row]).rstrip("\n")[:-1])  # 8.5
    with pytest.raises(FileError, match="whole last line"):
        read_chen(tmp_path / "chen.txt")


@pytest.mark.parametrize("fiberid", [-1, 0])
def test_dr16q_slots_without_a_fibre_match_nothing(tmp_path, make, fiberid):
    """A negative number made the same key of every plate."""
    rows = [make.dr16q_row(n, spectrum=(4000 + n, 56000, n), duplicates=((5000 + n, 56000, fiberid),)) for n in (1, 2)]
    found = read_dr16q(make.dr16q(tmp_path / "DR16Q.fits", rows), np.array([-1, (4001 << 36) | (56000 << 16) | 1]))
    assert found.objects["SDSS_NAME"].tolist() == [make.object_name(1)]
    assert len(found.epochs) == 1


@pytest.mark.parametrize("odd", [(405209088, 58000, 998), (5000, 1 << 20, 1), (5000, 56000, 10_000)])
def test_a_spectrum_that_cannot_be_is_a_damaged_catalogue(tmp_path, make, odd):
    rows = [make.dr16q_row(1, spectrum=(4001, 56000, 1), duplicates=(odd,))]
    with pytest.raises(FileError, match="a spectrum {}-{}-{}".format(*odd)):
        read_dr16q(make.dr16q(tmp_path / "DR16Q.fits", rows), np.array([(4001 << 36) | (56000 << 16) | 1]))


def test_dr16q_with_a_column_twice_or_of_another_type_is_refused(tmp_path, make):
    path = make.dr16q(tmp_path / "DR16Q.fits", [make.dr16q_row(1, spectrum=(4000, 56000, 1))])
    content = path.read_bytes()
    path.write_bytes(content.replace(b"TTYPE8  = 'THING_ID", b"TTYPE8  = 'Z       "))
    with pytest.raises(TableError, match="2 Z"):
        read_dr16q(path, np.array([1]))
    path.write_bytes(content.replace(b"TFORM9  = 'D ", b"TFORM9  = 'K "))
    with pytest.raises(FileError, match="column Z of"):
        read_dr16q(path, np.array([1]))


# --- tables ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def built(tiny_survey):
    build(tiny_survey, step=1e-2, quiet=True)
    return tiny_survey


def change_table(path, change):
    table = pq.read_table(path)
    pq.write_table(change(table), path)


def test_an_object_twice_gives_no_spectrum_another_s_label(built):
    """A join made two rows of each of its spectra, and all that came behind had the label of the one before."""
    change_table(built.quasars, lambda table: pa.concat_tables([table, table.slice(0, 1)]))
    with pytest.raises(TableError, match="one row per object"):
        dataset.load(built)


@pytest.mark.parametrize("name", ["LMBH", "Z", "N_EPOCHS", "SPLIT"])
def test_objects_without_a_label_or_a_split_are_refused(built, name):
    def without(table):
        values = table.column(name).to_pylist()
        values[2] = {"N_EPOCHS": 0, "SPLIT": "none"}.get(name, float("nan"))
        place = table.column_names.index(name)
        return table.set_column(place, name, pa.array(values, table.schema.field(name).type))

    change_table(built.quasars, without)
    with pytest.raises(TableError, match=f"usable {name}"):
        dataset.load(built)


@pytest.mark.parametrize("name", ["EPOCH", "Z", "flux"])
def test_spectra_that_lack_something_are_refused(built, name):
    def without(table):
        place, values = table.column_names.index(name), table.column(name).to_pylist()
        values[3] = None
        return table.set_column(place, name, pa.array(values, table.schema.field(name).type))

    try:
        change_table(built.spectra, without)
    except pa.ArrowNotImplementedError as error:  # a list of a fixed size that is missing: pyarrow 21
        pytest.skip(f"this pyarrow cannot write such a table: {error}")
    with pytest.raises(TableError, match=f"{name} in every row"):
        list(survey_tables.iterate_spectra(built.spectra))


def test_a_spectrum_twice_is_refused(built):
    change_table(built.spectra, lambda table: pa.concat_tables([table, table.slice(4, 1)]))
    with pytest.raises(TableError, match="every spectrum once"):
        dataset.load(built)


@pytest.mark.parametrize(
    ("name", "value"),
    [("grid", None), ("grid", {"step": "1e-3"}), ("grid", {"step": 1e-2, "start": 3.2}), ("kind", "both"),
     ("flux_unit", "Jy"), ("cosmology", 3), ("extinction_corrected", "yes")],
)  # fmt: skip
def test_descriptions_that_no_table_has_are_refused(built, name, value):
    def said(table):
        about = json.loads(table.schema.metadata[b"quasar_mass"]) | {name: value}
        return table.replace_schema_metadata({b"quasar_mass": json.dumps(about).encode()})

    change_table(built.spectra, said)
    with pytest.raises(TableError):
        dataset.load(built)


@pytest.mark.parametrize("pandas", [b"{", b"[" * 100_000, b'{"index_columns": ["x"]}', b"\xff"])
def test_what_pandas_noted_down_is_not_believed(built, pandas):
    before = dataset.load(built)
    for path in (built.quasars, built.spectra):
        change_table(path, lambda table: table.replace_schema_metadata({**table.schema.metadata, b"pandas": pandas}))
    try:
        after = dataset.load(built)
    except FileError:  # pyarrow itself looks at it
        return
    pd.testing.assert_frame_equal(after.spectra, before.spectra)


def test_text_that_is_no_text_is_a_damaged_file(built, tmp_path):
    """Parquet says that a column is UTF-8, and pandas looks only when the value is used."""
    no_text = pa.Array.from_buffers(pa.string(), 18, pa.array([b"\xb6x"] * 18).buffers())
    for name in ("OBJECT", "RUN2D", "FLAGS"):
        content = built.spectra.read_bytes()
        change_table(built.spectra, lambda t, name=name: t.set_column(t.column_names.index(name), name, no_text))
        with pytest.raises(FileError, match="whole Parquet file"):
            list(survey_tables.iterate_spectra(built.spectra))
        built.spectra.write_bytes(content)
    wanted = pa.table({"EPOCH": no_text, "Z": pa.array([1.6] * 18)})
    pq.write_table(wanted, tmp_path / "wanted.parquet")
    with pytest.raises(FileError, match="a table as its name"):
        gather([tmp_path / "wanted.parquet"], built)


# --- lists, cards and manifests -------------------------------------------------------------------------------------
def test_objects_without_a_name_are_not_one_object_named_nan(tmp_path):
    (tmp_path / "list.csv").write_text("EPOCH,Z,OBJECT\n7666-57339-0121,1.6,\n7666-57339-0122,1.6,\n")
    wanted, _ = gather([tmp_path / "list.csv"], Survey(tmp_path))
    assert [one.name for one in wanted] == ["", ""]


def test_a_card_nested_without_end_is_refused(tmp_path):
    Survey(tmp_path).card.write_text("[" * 100_000)
    with pytest.raises(FileError, match="JSON"):
        Survey(tmp_path).about()


@pytest.mark.parametrize(("name", "value"), [("bytes", 10**30), ("reason", "\ud800"), ("url", "x" * 10**6)])
def test_a_journal_that_could_not_be_written_again_is_refused(tmp_path, name, value):
    row = {"plate": 7666, "mjd": 57339, "fiberid": 1, "run2d": "", "url": "", "bytes": 0, "sha256": "", "reason": ""}
    path = manifest.paths(Survey(tmp_path))[1]
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(row | {"state": "missing", name: value}) + "\n")
    with pytest.raises(FileError, match="line 1"):
        manifest.read(Survey(tmp_path))


# --- calibrations ---------------------------------------------------------------------------------------------------
def test_arrays_that_do_not_fit_together_are_refused(tmp_path):
    from quasar_mass.core.errors import ModelError

    arrays = {"a": np.zeros((2, 3)), "b": np.zeros(3), "c": np.array([np.nan, 1.0])}
    shapes(tmp_path, arrays, {"a": "k d", "b": "d", "c": "2"}, unknown=("c",))
    for wrong in ({"a": "k d", "b": "k"}, {"a": "d"}, {"c": "2"}, {"b": "4"}):
        with pytest.raises(ModelError, match="a calibration with"):
            shapes(tmp_path, arrays, wrong)
    with h5py.File(tmp_path / "x.h5", "w") as file:  # text is no number
        file["a"] = ["x"]
        with pytest.raises(ModelError):
            shapes(tmp_path, {"a": file["a"][()]}, {"a": "1"})
