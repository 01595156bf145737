"""From the tables to training, validation and test sets."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quasar_mass.core.errors import FileError, TableError
from quasar_mass.tables import dataset, survey_tables
from quasar_mass.tables.build.pipeline import build
from quasar_mass.tables.dataset import split_objects

SHARES = {"training": 0.7, "validation": 0.2, "test": 0.1}
EDGES = (1, 2, 3, 4, 60, 10**9)


def objects(n_epochs):
    return pd.Series(n_epochs, index=[f"{number:08d}" for number in range(len(n_epochs))], dtype=np.int64)


epochs = st.lists(st.sampled_from([1, 1, 1, 1, 2, 2, 3, 4, 5, 59, 60, 75]), min_size=1, max_size=400)


@settings(max_examples=60, deadline=None)
@given(n_epochs=epochs, seed=st.integers(0, 5))
def test_every_object_is_in_one_split_and_the_shares_are_kept(n_epochs, seed):
    table = objects(n_epochs)
    split = split_objects(table, seed)
    assert split.index.equals(table.index)
    assert split.notna().all()
    assert set(split) <= set(SHARES)
    for name, share in SHARES.items():
        # tens are dealt exactly; only what is left of ten can differ
        whole_tens = len(table) // 10
        count = (split == name).sum()
        assert round(10 * share) * whole_tens <= count <= round(10 * share) * (whole_tens + 1)
        if len(table) % 10 == 0:
            assert count == round(share * len(table))


@settings(max_examples=40, deadline=None)
@given(n_epochs=epochs, order=st.randoms())
def test_the_split_does_not_depend_on_the_order_of_the_rows(n_epochs, order):
    table = objects(n_epochs)
    numbers = list(range(len(table)))
    order.shuffle(numbers)
    shuffled = split_objects(table.iloc[numbers])
    assert shuffled.index.tolist() == table.index[numbers].tolist()
    assert shuffled.to_dict() == split_objects(table).to_dict()


@settings(max_examples=40, deadline=None)
@given(n_epochs=epochs)
def test_each_stratum_is_shared_out_evenly(n_epochs):
    table = objects(n_epochs)
    split = split_objects(table)
    for low, high in itertools.pairwise(EDGES):
        stratum = split[(table >= low) & (table < high)]
        for name, share in SHARES.items():
            # a run of a repeating pattern of ten: two broken tens at most
            slack = 2 * 10 * share * (1 - share) + 1
            assert abs((stratum == name).sum() - share * len(stratum)) <= slack + 1e-9


def test_the_split_is_shuffled_and_seeded():
    table = objects([1] * 1000)
    first, again, other = split_objects(table), split_objects(table), split_objects(table, seed=1)
    assert first.equals(again)
    assert (first != other).sum() > 300
    # no split is a block of names or a regular comb of them
    tests = np.flatnonzero(first == "test")
    assert len(set(np.diff(tests))) > 5
    assert 300 < tests.mean() < 700


def test_the_split_of_a_survey_does_not_change_between_versions():
    split = split_objects(objects([1] * 14 + [2, 2, 3, 4, 60, 75]))
    # tr(aining), va(lidation), te(st): a new result here means other test objects for every survey built so far
    assert "".join(name[:2] for name in split) == "trtrtrvatrtrtrtrtetrtevatrvavatrtrtrtrtr"


def test_real_labels_split_as_in_the_published_counts(real_data):
    import pyarrow.parquet as pq

    frame = pq.read_table(real_data / "labels" / "quasars.parquet").to_pandas()
    n_epochs = frame["N_EPOCHS"]
    split = split_objects(n_epochs)
    assert split.value_counts().to_dict() == {"training": 21_644, "validation": 6_184, "test": 3_092}
    spectra = n_epochs.groupby(split).sum()
    print(f"\nspectra per split: {spectra.to_dict()}")
    assert spectra.sum() == 41_464
    many = split[n_epochs >= 60].value_counts()
    assert len(split[n_epochs >= 60]) == 116
    assert abs(many["test"] - 11.6) <= 2


# --- loading ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def built(tiny_survey):
    build(tiny_survey, step=1e-3, quiet=True)
    return tiny_survey


def test_load_joins_the_two_tables(built, make):
    data = dataset.load(built)
    assert data.kind == "sdss"
    assert (len(data.quasars), len(data.spectra), data.flux.shape) == (12, 18, (18, 371))
    assert data.flux.dtype == np.float32
    parts = [data.part(name) for name in ("training", "validation", "test")]
    assert sum(len(X) for X, _ in parts) == 18
    seen = [set(y.index.get_level_values("OBJECT")) for _, y in parts]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 12
    for X, y in parts:
        assert X.shape[1:] == (371, 1)
        assert y.dtype == np.float32
        for position, (name, epoch) in enumerate(y.index):
            row = data.spectra.index.get_loc((name, epoch))
            assert np.array_equal(X[position, :, 0], data.flux[row])
            number = int(name[4:6])
            assert y.iloc[position] == pytest.approx(8.0 + number / 10)  # as the survey's Chen+ table says
    for number, spectra in make.tiny.items():
        assert data.quasars.loc[make.object_name(number), "N_EPOCHS"] == len(spectra)
        assert len(data.spectra.loc[make.object_name(number)]) == len(spectra)


def test_describe_says_what_a_model_was_trained_on(built):
    data = dataset.load(built)
    about = dataset.describe(data.about, data.quasars, data.spectra)
    training = data.spectra[data.spectra["SPLIT"] == "training"]
    assert about["kind"] == "sdss"
    assert about["trained_on"]["spectra"] == len(training)
    assert about["trained_on"]["objects"] == training.index.get_level_values(0).nunique()
    assert about["trained_on"]["redshift"] == [training["Z"].min(), training["Z"].max()]
    assert about["grid"]["size"] == 371
    assert about["tables"] == data.about["build"]


def test_tables_of_two_builds_are_not_mixed(built):
    old = built.quasars.read_bytes()
    build(built, step=2e-3, quiet=True)
    built.quasars.write_bytes(old)
    with pytest.raises(TableError, match=r"is not of the same build as quasars\.parquet"):
        dataset.load(built)


def rewrite(survey, change):
    about = survey_tables.read_about(survey.spectra)
    batches = []
    for frame, flux in survey_tables.iterate_spectra(survey.spectra):
        batch = {name: frame[name].astype(object).where(frame[name].notna(), None).tolist() for name in frame}
        batch["flux"] = flux.copy()
        change(batch)
        batches.append(batch)
    survey_tables.write_spectra(survey.spectra, batches, survey_tables.read_grid(about), lambda: about)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_flux_that_is_not_finite_is_refused_by_name(built, value):
    rewrite(built, lambda batch: batch["flux"].__setitem__((3, 100), value))
    epoch = next(survey_tables.iterate_spectra(built.spectra))[0]["EPOCH"].iloc[3]
    with pytest.raises(TableError, match=f"{epoch}: has a flux that is not finite"):
        dataset.load(built)


def test_spectra_of_unknown_objects_are_refused(built):
    rewrite(built, lambda batch: batch["OBJECT"].__setitem__(3, "nobody"))
    with pytest.raises(TableError, match="holds object nobody"):
        dataset.load(built)


@pytest.mark.parametrize("name", ["quasars", "spectra"])
def test_missing_and_truncated_tables_are_file_errors(built, name):
    path = getattr(built, name)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(FileError, match=path.name):
        dataset.load(built)
    path.unlink()
    with pytest.raises(FileError, match="no such file"):
        dataset.load(built)
