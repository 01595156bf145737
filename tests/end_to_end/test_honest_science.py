"""Honest science: no quasar in two parts of a split, no label or truth in the inputs, nothing learnt from noise.

The tests change the tables and see what changes in the predictions.
"""

import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quasar_mass.cli import best_models
from quasar_mass.core import evaluation
from quasar_mass.core.survey import DEMO_OBJECTS, MODELS, Survey
from quasar_mass.network import architecture, backend
from quasar_mass.network.easyai import EasyAI
from quasar_mass.network.keras_io import model_file
from quasar_mass.predict import mass_table
from quasar_mass.predict.inputs import SHIPPED_MODEL
from quasar_mass.predict.predictor import Predictor
from quasar_mass.report import assessment, explain_files
from quasar_mass.simulation import library, monitored, population, probes
from quasar_mass.simulation.simulated_survey import simulate
from quasar_mass.tables import catalogs, dataset
from quasar_mass.tables.build import selection
from quasar_mass.tables.build.duplicates import FIBRE, group_duplicates
from quasar_mass.tables.build.pipeline import build
from quasar_mass.tables.dataset import split_objects
from quasar_mass.tables.survey_tables import read_quasars

FRACTIONS = {"training": 0.7, "validation": 0.2, "test": 0.1}


# --- one quasar, one part of the split --------------------------------------------------------------------------------

# Few positions and few spectra, so that names often belong to one quasar: each object has a position (in steps of half
# a fibre along a line) and the spectra it lists.
catalogues = st.lists(
    st.tuples(st.integers(0, 400), st.sets(st.integers(0, 60), min_size=1, max_size=4)), min_size=1, max_size=60
)


def quasars_by_hand(catalogue):
    """Merge objects one pair after the other: no tree, no graph."""
    number = list(range(len(catalogue)))
    for first, (position, spectra) in enumerate(catalogue):
        for second, (other_position, other_spectra) in enumerate(catalogue[:first]):
            if abs(position - other_position) <= 1 or spectra & other_spectra:
                old, new = number[first], number[second]
                number = [new if value == old else value for value in number]
    return number


@settings(max_examples=80, deadline=None)
@given(catalogue=catalogues, declination=st.sampled_from([-60.0, 0.0, 89.0]), seed=st.integers(0, 3))
def test_a_quasar_under_two_names_is_in_one_part_of_the_split(catalogue, declination, seed):
    dec = declination + np.array([0.6 * FIBRE * position / 3600 for position, _ in catalogue])
    rows = np.repeat(np.arange(len(catalogue)), [len(spectra) for _, spectra in catalogue])
    listed = np.array([spectrum for _, spectra in catalogue for spectrum in spectra])
    grouped = group_duplicates(np.full(len(catalogue), 150.0), dec, rows, listed)
    by_hand = quasars_by_hand(catalogue)
    assert len(set(zip(grouped, by_hand, strict=True))) == len(set(grouped)) == len(set(by_hand))

    names = [f"{number:04d}" for number in range(len(catalogue))]
    epochs = pd.Series([len(spectra) for _, spectra in catalogue], index=names)
    quasars = pd.Series(grouped, index=names)
    split = split_objects(epochs, seed, quasars)
    assert split.index.tolist() == names
    assert set(split) <= set(FRACTIONS)
    assert (split == split.groupby(quasars).transform("first")).all()
    of_quasars = split.groupby(quasars).first()
    for part, fraction in FRACTIONS.items():  # tens of quasars are divided exactly; only what is left of ten can differ
        least = round(10 * fraction) * (len(of_quasars) // 10)
        assert least <= (of_quasars == part).sum() <= least + round(10 * fraction)
    backwards = split_objects(epochs[::-1], seed, quasars[::-1])
    assert backwards.to_dict() == split.to_dict()


@pytest.mark.parametrize("unknown", [np.nan, np.inf, -np.inf])
def test_quasars_without_a_position_are_one_only_by_their_spectra(unknown):
    position = np.array([10.0, unknown, unknown, 10.0, unknown])
    grouped = group_duplicates(position, position[::-1], np.array([0, 1, 2, 3, 4]), np.array([7, 8, 9, 10, 8]))
    assert len(set(grouped)) == 4
    assert grouped[1] == grouped[4]


@pytest.mark.parametrize("how", ["position", "spectrum", "chain"])
def test_two_names_of_the_catalogue_for_one_quasar_end_up_together(make, tmp_path, how):
    """Ten pairs of names among the published tables; divided one by one, some pair would be separated."""
    chen, dr16q = [], []

    def add(number, ra, *spectra):
        dr16q.append(make.dr16q_row(number, spectrum=spectra[0], duplicates=spectra[1:], RA=ra, DEC=0.0))

    for number in range(1, 21):
        one, other = (4000 + number, 56000, 1), (4000 + number, 56001, 1)
        near = number + (0.5 * FIBRE / 3600 if how == "position" else 0.1)
        shared = ((9000 + number, 57000, 1),) if how == "spectrum" else ()
        add(number, float(number), one, *shared)
        add(100 + number, near, other, *shared)
        if how == "chain":  # a third name, without a mass, shares a spectrum with either
            add(200 + number, number + 0.2, (9000 + number, 57000, 2), one, other)
        for name, (plate, mjd, fiberid) in ((number, one), (100 + number, other)):
            row = {"SDSS": make.object_name(name), "Plate": plate, "MJD": mjd, "Fiber": fiberid}
            chen.append(row | {"ZVI": 1.6 + 0.001 * (-1) ** number, "logMBH-MgII-2": 8.5})
    (tmp_path / "chen.txt").write_text(make.chen_text(chen))
    selected = selection.select(catalogs.read_chen(tmp_path / "chen.txt"), make.dr16q(tmp_path / "q.fits", dr16q))
    quasars = selected.quasars
    assert len(quasars) == 40
    assert not selected.epochs["EPOCH"].duplicated().any()
    for split, separated in (
        (split_objects(pd.Series(1, index=quasars.index), quasars=quasars["QUASAR"]), False),
        (split_objects(pd.Series(1, index=quasars.index)), True),
    ):
        pairs = [(split[make.object_name(n)], split[make.object_name(100 + n)]) for n in range(1, 21)]
        assert any(one != other for one, other in pairs) == separated


def test_quasars_that_lend_their_true_masses_are_in_no_survey_of_the_commands():
    """The seeds of pre-training, pooling and slopes; those of surveys are 1 (the demonstration) and 3."""
    lent = {
        library.FIRST_SEED + 10_007 * best_models.LIBRARY_SEED + n
        for n in range(-(-best_models.LIBRARY // library.PART))
    }
    lent |= {first + seed for first in (monitored.FIRST_SEED, probes.FIRST_SEED) for seed in range(1, 101)}
    assert not lent & {1, 3}
    known = {target.name for seed in (1, 3) for target in population.targets(DEMO_OBJECTS, seed)}
    for seed in sorted(lent)[::20]:
        assert not known & {target.name for target in population.targets(200, seed)}


# --- what the inputs are a function of --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    """A simulated survey on the shipped model's grid, with its truth."""
    survey = Survey(tmp_path_factory.mktemp("honest") / "survey")
    simulate(survey, objects=40, seed=8, quiet=True)
    build(survey, quiet=True)
    shutil.rmtree(survey.folder / "spectra")  # the tables are all that is needed
    return survey


@pytest.fixture
def copy(survey, tmp_path):
    """A copy of it to be changed."""
    return Survey(shutil.copytree(survey.folder, tmp_path / "survey"))


@pytest.fixture(scope="module")
def shipped():
    return Predictor.load(SHIPPED_MODEL, total=True)


def changed(values: pa.ChunkedArray) -> pa.Array:
    """Other values of the same type: in reverse order; numbers moved, truth values negated."""
    others = values.to_pylist()[::-1]
    if pa.types.is_boolean(values.type):
        others = [not value for value in values.to_pylist()]
    elif pa.types.is_floating(values.type):
        others = [None if value is None else value * 1.1 + 0.3 for value in others]
    elif pa.types.is_integer(values.type):
        others = [None if value is None else value + 1 for value in others]
    return pa.array(others, values.type)


def change(path, columns, where=None) -> None:
    """Change columns of a table, or only the rows `where`, and leave its metadata."""
    table = pq.read_table(path)
    for name in columns:
        old, new = table[name], changed(table[name])
        if where is not None:
            new = pa.array(
                [b if here else a for a, b, here in zip(old.to_pylist(), new.to_pylist(), where, strict=True)], old.type
            )
        assert not old.combine_chunks().equals(new), name
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), new)
    pq.write_table(table, path)


def columns(path) -> list[str]:
    return [name for name in pq.read_schema(path).names if not name.startswith("__")]


# What a prediction may know, by table; every other column must not matter.
ALLOWED = {
    "spectra": {"OBJECT", "EPOCH", "Z", "SN", "N_BAD", "SEEN_CIV", "SEEN_CIII", "SEEN_MgII", "FLAGS", "flux"},
    "quasars": {"OBJECT", "SPLIT", "BAL_PROB", "N_EPOCHS"},  # the split is shown beside the mass
}
LABELS = {"LMBH", "LABEL_LINE", "CHEN EPOCH", "ZVI", "logMBH-Hb", "logMBH-Ha-2", "logMBH-MgII-2", "logMBH-CIV-2"}


def without_labels(survey) -> None:
    """Change all that a prediction must not know, and remove the truth."""
    for table, allowed in ALLOWED.items():
        path = getattr(survey, table)
        # masses that were not measured are 0 in all rows: they would stay as they are
        change(path, sorted(set(columns(path)) - allowed - {"RUN2D"}))
    survey.truth.unlink()


def predicted(predictor, survey):
    """All tables that a prediction of a survey gives, as bytes that differ where one bit does."""
    tables = []
    for per_object in (False, True):
        table = mass_table.predict_survey(survey, predictor, per_object=per_object, quiet=True)
        tables.append({name: table[name].to_numpy().tolist() for name in table})
    return repr(tables)


def test_the_lists_here_name_all_columns(survey):
    assert set(columns(survey.quasars)) >= LABELS
    assert not LABELS & (ALLOWED["quasars"] | ALLOWED["spectra"])
    assert survey.truth.exists()


def test_no_label_and_no_truth_reaches_inputs_or_predictions(survey, copy, shipped):
    before, masses = dataset.load(survey), predicted(shipped, survey)
    without_labels(copy)
    after = dataset.load(copy)
    for part in FRACTIONS:
        assert before.part(part)[0].tobytes() == after.part(part)[0].tobytes()
        assert (before.part(part)[1].to_numpy() != after.part(part)[1].to_numpy()).all()  # the labels did change
    assert predicted(shipped, copy) == masses
    # a wrong truth changes nothing either
    shutil.copyfile(survey.truth, copy.truth)
    change(copy.truth, ["LMBH", "LMBH_MgII"])
    assert predicted(shipped, copy) == masses


@pytest.mark.slow
def test_no_label_and_no_truth_reaches_what_explanation_and_report_show_of_a_prediction(
    survey, copy, shipped, tmp_path
):
    without_labels(copy)

    def explained(survey, folder):
        text = explain_files.explain(
            [], [survey.spectra], survey, SHIPPED_MODEL, folder, number=3, slopes=False, quiet=True
        )
        text = text.replace(str(folder), "")
        return text, {path.name: path.read_bytes() for path in sorted(folder.rglob("*.png"))}

    assert explained(copy, tmp_path / "one") == explained(survey, tmp_path / "two")
    shown = ["EPOCH", "PREDICTED", "LMBH_LOW", "LMBH_HIGH", "FLAGS", "LOG_L"]
    one, two = (assessment.assess(shipped, dataset.load(each), each).predictions for each in (survey, copy))
    pd.testing.assert_frame_equal(one[shown], two[shown], check_exact=True)
    assert (one["LMBH"] != two["LMBH"]).all()


# column changed: which columns of the prediction it may move; the first of them it does move
REACHES = {
    "flux": ["LMBH", "LMBH_LOW", "LMBH_HIGH", "TOTAL_LOW", "TOTAL_HIGH", "FLAGS"],
    "Z": ["Z", "LMBH", "LMBH_LOW", "LMBH_HIGH", "TOTAL_LOW", "TOTAL_HIGH", "FLAGS"],  # by the factor 1 + z of the flux
    "SN": ["SN", "LMBH_LOW", "LMBH_HIGH", "TOTAL_LOW", "TOTAL_HIGH", "FLAGS"],
    "SEEN_MgII": ["SEEN_MgII", "LMBH_LOW", "LMBH_HIGH", "TOTAL_LOW", "TOTAL_HIGH"],
    "BAL_PROB": ["FLAGS"],
}


@pytest.mark.parametrize("name", REACHES)
def test_a_mass_is_a_function_of_flux_and_redshift_alone(survey, copy, shipped, name):
    before = mass_table.predict_survey(survey, shipped, quiet=True)
    if name == "flux":
        table = pq.read_table(copy.spectra)
        flux = pa.array(table["flux"].to_pylist()[::-1], table.schema.field("flux").type)
        pq.write_table(
            table.set_column(table.schema.get_field_index("flux"), table.schema.field("flux"), flux), copy.spectra
        )
    else:
        change(copy.quasars if name == "BAL_PROB" else copy.spectra, [name])
    after = mass_table.predict_survey(copy, shipped, quiet=True)
    moved = [column for column in before if not before[column].equals(after[column])]
    assert REACHES[name][0] in moved
    assert set(moved) <= set(REACHES[name])


# --- training: test objects and truth ---------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch):
    """Training as for the shipped models, with a small network and a small library."""
    k = backend.import_keras().layers

    def few(step):  # with names: Keras would number the layers of the second network differently
        return [k.AveragePooling1D(100, name="average"), k.Flatten(name="flat"), k.Dense(1, name="mass")]

    monkeypatch.setattr(architecture, "layers", few)
    monkeypatch.setattr(library, "PART", 20)

    def train(survey, work):
        best_models.train_seed(survey, work, 1, 40, (1, 1), quiet=True)
        return {stage: work / "seed-1" / name for stage, name in MODELS.items()}

    return train


def test_training_knows_no_test_object_and_says_whose_truth_it_knows(survey, copy, small, tmp_path):
    trained = small(survey, tmp_path / "one")
    # other labels and other fluxes of the test objects, no truth of the survey: the same files to the last byte
    quasars = read_quasars(copy.quasars)
    change(copy.quasars, sorted(LABELS & {"LMBH", "ZVI", "LABEL_LINE"}), (quasars["SPLIT"] == "test").to_numpy())
    table = pq.read_table(copy.spectra)
    tested = (quasars["SPLIT"].reindex(table["OBJECT"].to_pandas()) == "test").to_numpy()
    flux = table["flux"].combine_chunks().flatten().to_numpy().reshape(len(tested), -1).copy()
    flux[tested] *= 1.5
    flux = pa.FixedSizeListArray.from_arrays(pa.array(flux.reshape(-1)), flux.shape[1])
    pq.write_table(
        table.set_column(table.schema.get_field_index("flux"), table.schema.field("flux"), flux), copy.spectra
    )
    copy.truth.unlink()
    assert tested.any()
    shutil.copytree(tmp_path / "one" / "library", tmp_path / "two" / "library")
    again = small(copy, tmp_path / "two")
    for stage, path in trained.items():
        assert again[stage].read_bytes() == path.read_bytes(), stage

    # other true masses of the library give another network: a truth was used, and both files must say so
    shutil.copytree(tmp_path / "one" / "library", tmp_path / "three" / "library")
    for part in (tmp_path / "three" / "library").iterdir():
        with np.load(part) as arrays:
            made = dict(arrays)
        # of the other sign, since the first steps of the optimizer follow the sign of the gradient alone
        made["truth"] = -made["truth"]
        np.savez(part, **made)
    other = small(survey, tmp_path / "three")
    for stage, path in trained.items():
        one, two = (EasyAI.load(each).model.get_weights() for each in (path, other[stage]))
        assert any(not np.array_equal(a, b) for a, b in zip(one, two, strict=True)), "the truth is used"
        about = model_file.read(path).about
        assert about["pretrained_on"]["uses_truth_of"] == "the simulation"
        assert "true" in about["targets"][stage]
        assert list(about["targets"]) == list(MODELS)[: len(about["targets"])]
        assert stage in about["targets"]


# --- shuffled labels --------------------------------------------------------------------------------------------------

SHUFFLED = 0.02  # R2 that a model with nothing to learn may reach
LEARNT = 0.10  # R2 that the same model reaches at least where there is something
STEP, COARSER = 5e-4, 4  # the grid; of whose pixels the network gets means of so many: it is the real one, and quick
# Some thousand steps: fewer teach the network nothing, whatever the labels.
STAGES, BATCH = (architecture.Stage("intermediate", 1e-3, 20), architecture.Stage("final", 1e-4, 6)), 8


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Spectra, redshifts and labels for training and held back, one spectrum of an object; and shuffled labels."""
    survey = Survey(tmp_path_factory.mktemp("labels") / "survey")
    simulate(survey, objects=600, seed=5, quiet=True)
    build(survey, step=STEP, quiet=True)
    data = dataset.load(survey)
    first = ~data.spectra.index.get_level_values("OBJECT").duplicated()  # one observed sixty times would weigh most
    parts = []
    for these in (["training"], ["validation", "test"]):  # nothing is chosen on either of the last two
        rows = first & data.spectra["SPLIT"].isin(these).to_numpy()
        parts.append((data.flux[rows], *(data.spectra.loc[rows, name].to_numpy() for name in ("Z", "LMBH"))))
    return (*parts, np.random.default_rng(1).permutation(parts[0][2]))


def check_learning(learn, labelled):
    """Learn true labels, then shuffled ones, and score the predictions of the spectra held back."""
    (flux, redshift, label), (held_flux, held_redshift, held_label), shuffled = labelled
    r2 = {}
    for name, mass in (("true", label), ("shuffled", shuffled)):
        predicted = learn((flux, redshift, mass), (held_flux, held_redshift))
        r2[name] = evaluation.scores(held_label, predicted)["r2"]
    print(f"\nR2 on {len(held_label)} spectra held back: {r2}")  # with pytest -s
    assert r2["shuffled"] <= SHUFFLED
    assert r2["true"] > LEARNT


@pytest.mark.slow
def test_shuffled_labels_teach_the_network_nothing_and_true_ones_do(labelled):
    def coarser(flux):
        pixels = flux.shape[1] // COARSER * COARSER
        return flux[:, :pixels].reshape(len(flux), -1, COARSER).mean(axis=2)

    def trained(training, others):
        flux, _, mass = training
        flux = coarser(flux)
        ann = EasyAI(architecture.layers(COARSER * STEP), (flux.shape[1], 1), seed=1)
        # without a choice of the best training epoch, which labels would take part in
        ann.train((flux, mass), (flux, mass), stages=STAGES, batch_size=BATCH, choose=False, quiet=True)
        return ann.predict(coarser(others[0]))

    check_learning(trained, labelled)
