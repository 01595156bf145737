"""From the tables to training, validation and test sets."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quasar_mass.tables import dataset
from quasar_mass.tables.build.pipeline import build
from quasar_mass.tables.dataset import split_objects

FRACTIONS = {"training": 0.7, "validation": 0.2, "test": 0.1}
EDGES = (1, 2, 3, 4, 60, 10**9)


def objects(n_epochs):
    return pd.Series(n_epochs, index=[f"{number:08d}" for number in range(len(n_epochs))], dtype=np.int64)


epochs = st.lists(st.sampled_from([1, 1, 1, 1, 2, 2, 3, 4, 5, 59, 60, 75]), min_size=1, max_size=400)


@settings(max_examples=60, deadline=None)
@given(n_epochs=epochs, seed=st.integers(0, 5))
def test_every_object_is_in_one_split_and_the_fractions_are_kept(n_epochs, seed):
    table = objects(n_epochs)
    split = split_objects(table, seed)
    assert split.index.equals(table.index)
    assert split.notna().all()
    assert set(split) <= set(FRACTIONS)
    for name, fraction in FRACTIONS.items():
        # tens are dealt exactly; only what is left of ten can differ
        whole_tens = len(table) // 10
        count = (split == name).sum()
        assert round(10 * fraction) * whole_tens <= count <= round(10 * fraction) * (whole_tens + 1)
        if len(table) % 10 == 0:
            assert count == round(fraction * len(table))


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
def test_each_stratum_is_divided_evenly(n_epochs):
    table = objects(n_epochs)
    split = split_objects(table)
    for low, high in itertools.pairwise(EDGES):
        stratum = split[(table >= low) & (table < high)]
        for name, fraction in FRACTIONS.items():
            # a run of a repeating pattern of ten: two broken tens at most
            slack = 2 * 10 * fraction * (1 - fraction) + 1
            assert abs((stratum == name).sum() - fraction * len(stratum)) <= slack + 1e-9


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
            factor = (1.0 + data.spectra["Z"].iloc[row]) / 2.65  # as networks take spectra
            np.testing.assert_allclose(X[position, :, 0], data.flux[row] * factor, rtol=1e-6)
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
