"""The reference's own Parquet files into the tables of this project."""

import warnings
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest

from quasar_mass.core.errors import FileError, SurveyError, TableError
from quasar_mass.core.survey import Survey
from quasar_mass.tables import dataset, survey_tables
from quasar_mass.tables.build import convert as module
from quasar_mass.tables.build.convert import convert

STEP = 5e-4  # ten times that of the published file
N_OBJECTS = 12


def object_name(number):
    return f"{number:06d}.00+000000.0"


def spectra_of(number):
    return [f"{4000 + number}-56000-{copy + 1:04d}" for copy in range({3: 4, 5: 3, 7: 2}.get(number, 1))]


@pytest.fixture
def survey(tmp_path):
    return Survey(tmp_path / "sky")


@pytest.fixture
def reference_quasars(tmp_path):
    """As the published file is: bytes in the index, nine columns."""
    numbers = range(N_OBJECTS)
    civ = [number % 4 == 1 for number in numbers]
    mass = np.round(8 + np.arange(N_OBJECTS) / 10, 2)
    frame = pd.DataFrame(
        {
            "ZVI": 1.6,
            "logMBH-Hb": 0.0,
            "logMBH-Ha-2": 0.0,
            "logMBH-MgII-2": np.where(civ, 0.0, mass),
            "logMBH-CIV-2": np.where(civ, mass, 9.5),
            "LMBH": mass,
            "CHEN EPOCH": [spectra_of(number)[-1] for number in numbers],
            "Z": 1.5 + np.arange(N_OBJECTS) / 100,
            "N_EPOCHS": [len(spectra_of(number)) for number in numbers],
        },
        index=pd.Index([object_name(number).encode() for number in numbers], name="OBJECT"),
    )

    def write(path=tmp_path / "quasars.parquet", change=lambda frame: frame):
        path.parent.mkdir(parents=True, exist_ok=True)
        change(frame.copy()).to_parquet(path)
        return path

    return write


def wide_frame(step=STEP, low=3.1599, high=3.5310):
    """Eighteen spectra on a grid that is a little off ours, as the published one is."""
    grid = np.arange(low, high, step)
    rows = [(object_name(number).encode(), epoch) for number in range(N_OBJECTS) for epoch in spectra_of(number)]
    random = np.random.default_rng(2)
    flux = random.normal(500, 100, (len(rows), len(grid)))
    index = pd.MultiIndex.from_tuples(rows, names=["OBJECT", "EPOCH"])
    return pd.DataFrame(flux, index=index, columns=[str(value) for value in grid])


@pytest.fixture(scope="module")
def wide_file(tmp_path_factory):
    """The wide table as fastparquet writes it, where it is installed."""
    path = tmp_path_factory.mktemp("wide") / "spectra.parquet"
    frame = wide_frame()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas deprecates this engine, with which the published file was written
        frame.to_parquet(path, engine="fastparquet" if find_spec("fastparquet") else "pyarrow", compression=None)
    return path, frame


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(module, "_ROWS", 7)  # more blocks than one, the last not full


def test_quasars_become_a_table_with_text_names_label_lines_and_splits(reference_quasars, survey):
    said = convert(reference_quasars(), survey, quiet=True)
    assert said.startswith("12 quasars (sdss)")
    quasars = survey_tables.read_quasars(survey.quasars)
    assert quasars.index.tolist() == [object_name(number) for number in range(N_OBJECTS)]
    assert quasars["LABEL_LINE"].tolist() == ["CIV" if number % 4 == 1 else "MgII" for number in range(N_OBJECTS)]
    assert quasars["LMBH"].tolist() == np.round(8 + np.arange(N_OBJECTS) / 10, 2).tolist()
    assert quasars["CHEN EPOCH"].iloc[3] == "4003-56000-0004"
    assert quasars["RA"].isna().all()
    assert set(quasars["SPLIT"]) <= {"training", "validation", "test"}
    assert survey_tables.read_about(survey.quasars)["kind"] == "sdss"


def test_wide_spectra_become_a_table_with_the_same_fluxes(reference_quasars, wide_file, survey):
    path, frame = wide_file
    before = path.read_bytes()
    convert(reference_quasars(), survey, quiet=True)
    said = convert(path, survey, quiet=True)
    assert said.startswith("18 spectra (sdss, step 0.0005)")
    assert path.read_bytes() == before
    data = dataset.load(survey)
    assert data.grid.size == 741
    assert data.flux.shape == (18, 741)
    found = np.array([float(name) for name in frame.columns])
    ours = 3.16 + STEP * np.arange(741)
    for (name, epoch), flux in zip(data.spectra.index, data.flux, strict=True):
        expected = np.interp(ours, found, frame.loc[(name.encode(), epoch)].to_numpy())
        np.testing.assert_allclose(flux, expected, rtol=1e-6)
        row = data.spectra.loc[(name, epoch)]
        number = int(name[:6])
        assert row["LABEL_EPOCH"] == (epoch == spectra_of(number)[-1])
        assert row["Z"] == pytest.approx(1.5 + number / 100)
        assert np.isnan(row["SN"])
        assert row["FLAGS"] == "no extinction known"
    about = survey_tables.read_about(survey.spectra)
    assert about["extinction_corrected"] is False
    assert about["kind"] == "sdss"


def test_files_in_place_are_kept_as_reference(reference_quasars, wide_file, survey):
    reference_quasars(survey.quasars)
    survey.spectra.write_bytes(wide_file[0].read_bytes())
    originals = [survey.quasars.read_bytes(), survey.spectra.read_bytes()]
    convert(survey.quasars, survey, quiet=True)
    convert(survey.spectra, survey, quiet=True)
    kept = [survey.quasars.with_name(f"{name}_reference.parquet") for name in ("quasars", "spectra")]
    assert [path.read_bytes() for path in kept] == originals
    assert len(dataset.load(survey).flux) == 18
    assert not any("partial" in path.name for path in survey.quasars.parent.iterdir())
    # a second download does not overwrite the first
    reference_quasars(survey.quasars)
    with pytest.raises(FileError, match=r"quasars_reference\.parquet: exists already"):
        convert(survey.quasars, survey, quiet=True)


def test_a_failed_conversion_in_place_leaves_the_download_where_it_was(reference_quasars, survey):
    convert(reference_quasars(), survey, quiet=True)
    frame = wide_frame(step=1e-3)
    frame.iloc[9, 5] = np.nan
    frame.to_parquet(survey.spectra)
    original = survey.spectra.read_bytes()
    with pytest.raises(TableError):
        convert(survey.spectra, survey, quiet=True)
    assert survey.spectra.read_bytes() == original
    assert sorted(entry.name for entry in survey.quasars.parent.iterdir()) == ["quasars.parquet", "spectra.parquet"]


def test_spectra_without_a_label_are_rejected_by_name(reference_quasars, wide_file, survey):
    convert(reference_quasars(change=lambda frame: frame.drop(index=[object_name(3).encode()])), survey, quiet=True)
    said = convert(wide_file[0], survey, quiet=True)
    assert said.startswith("14 spectra")
    assert "4 without a label" in said
    rejects = survey_tables.read_rejects(survey.rejects)
    assert set(rejects["OBJECT"]) == {object_name(3)}
    assert rejects["EPOCH"].tolist() == spectra_of(3)
    assert object_name(3) not in dataset.load(survey).spectra.index.get_level_values("OBJECT")


def refused(error, path, survey, *words):
    """The conversion ends in one sentence with these words, and leaves no table."""
    tables = sorted(survey.folder.rglob("*.parquet"))
    with pytest.raises(error) as caught:
        convert(path, survey, quiet=True)
    for word in words:
        assert word in str(caught.value)
    assert sorted(survey.folder.rglob("*.parquet")) == tables


def test_files_that_are_not_the_reference_s_are_refused(reference_quasars, wide_file, survey, tmp_path):
    refused(FileError, tmp_path / "none.parquet", survey, "no such file")
    foreign = tmp_path / "foreign.parquet"
    for content in (b"", b"text\n" * 50, b"PAR1cut"):
        foreign.write_bytes(content)
        refused(FileError, foreign, survey, "foreign.parquet: is not a whole Parquet file", "fetch it again")
    pd.DataFrame({"a": [1], "3.2": [1.0]}).to_parquet(foreign)
    refused(TableError, foreign, survey, "2 columns", "LMBH")
    refused(SurveyError, wide_file[0], survey, "convert the reference's quasars.parquet first")
    convert(reference_quasars(), survey, quiet=True)
    refused(TableError, survey.quasars, survey, "a table of this project already")
    survey.card.write_text('{"kind": "simulated"}')
    refused(SurveyError, reference_quasars(), survey, "a simulated survey")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: pd.concat([frame, frame.iloc[:1]]), "more than one row for object"),
        (lambda frame: frame.assign(LMBH=np.nan), "empty cells"),
        (lambda frame: frame.assign(N_EPOCHS=0), "no usable N_EPOCHS (0)"),
        (lambda frame: frame.reset_index(drop=True), "without OBJECT"),
    ],
)
def test_contradicting_quasars_are_refused(reference_quasars, survey, change, message):
    refused(TableError, reference_quasars(change=change), survey, message, "fetch it again")


def others(frame):
    names = [f"other {n}".encode() for n in range(N_OBJECTS)]
    return frame.set_index(frame.index.set_levels(names, level="OBJECT"))


def not_finite(frame):
    frame.iloc[9, 5] = np.nan
    return frame


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (not_finite, f"{spectra_of(5)[1]}: has a flux that is not finite"),
        (lambda frame: frame.iloc[:, :-20], "no even grid"),
        (lambda frame: frame.drop(columns=frame.columns[100:110]), "no even grid"),
        (lambda frame: frame.droplevel("EPOCH"), "no EPOCH"),
        (lambda frame: pd.concat([frame, frame.iloc[:1]]), "twice"),
        (others, "none of an object in"),
    ],
)
def test_contradicting_wide_files_are_refused(reference_quasars, survey, tmp_path, change, message):
    convert(reference_quasars(), survey, quiet=True)
    change(wide_frame(step=1e-3)).to_parquet(tmp_path / "wide.parquet")
    refused(TableError, tmp_path / "wide.parquet", survey, "wide.parquet", message)


def test_the_published_labels_convert(real_data, survey):
    said = convert(real_data / "labels" / "quasars.parquet", survey, quiet=True)
    assert said.startswith("30,920 quasars (sdss)")
    quasars = survey_tables.read_quasars(survey.quasars)
    assert all(isinstance(name, str) and len(name) == 18 for name in quasars.index)
    assert quasars.index.is_unique
    assert quasars["LABEL_LINE"].value_counts().to_dict() == {"MgII": 23_379, "CIV": 7_541}
    assert quasars["SPLIT"].value_counts().to_dict() == {"training": 21_644, "validation": 6_184, "test": 3_092}
    assert quasars["N_EPOCHS"].sum() == 41_464
    assert abs((quasars["SPLIT"][quasars["N_EPOCHS"] >= 60] == "test").sum() - 11.6) <= 2
    assert quasars["LMBH"].mean() == pytest.approx(8.560, abs=5e-4)
