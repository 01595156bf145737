"""Means of the weights over the steps, learning rates that fall, and weights of spectra: against numbers by hand."""

import shutil

import numpy as np
import pytest

from quasar_mass.core.errors import TableError
from quasar_mass.network import averaging, backend
from quasar_mass.network.architecture import Stage
from quasar_mass.network.checkpoints import Checkpoints
from quasar_mass.network.easyai import EasyAI
from quasar_mass.network.keras_io import model_file

PIXELS, MOMENTUM = 6, 0.8


def sample(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    spectra = rng.normal(0.4, 0.1, (n, PIXELS)).astype(np.float32)
    return spectra, 0.5 + spectra.mean(axis=1) + rng.normal(0, 0.1, n)


TRAINING, VALIDATION = sample(40, 0), sample(20, 1)


def linear() -> EasyAI:
    k = backend.import_keras().layers
    return EasyAI([k.Flatten(name="flat"), k.Dense(1, name="mass")], (PIXELS, 1), seed=1)


def normalized(first: bool = False) -> EasyAI:
    """With batch normalization behind weights, if wanted also before them, and a random generator."""
    k = backend.import_keras().layers
    layers = [
        k.Flatten(name="flat"),
        k.Dense(3, activation="relu", name="hidden"),
        k.BatchNormalization(name="second"),
        k.Dropout(0.2, name="drop"),
        k.Dense(1, name="mass"),
    ]
    return EasyAI([k.BatchNormalization(name="first"), *layers] if first else layers, (PIXELS, 1), seed=1)


def train(ann: EasyAI, training=TRAINING, validation=VALIDATION, *, batch_size=40, epochs=4, **options):
    stage = {key: options.pop(key) for key in ("cosine", "average") if key in options}
    stages = (Stage("one", 3e-2, epochs, **stage),)
    return ann.train(training, validation, **{"stages": stages, "batch_size": batch_size, "quiet": True} | options)


def same(a: EasyAI, b: EasyAI) -> bool:
    return all(map(np.array_equal, a.model.get_weights(), b.model.get_weights()))


def watch(ann: EasyAI) -> list:
    """Learning rate and weights after each training epoch."""
    fit, seen = ann.model.fit, []

    def watched(*arguments, **options):
        fitted = fit(*arguments, **options)
        seen.append((float(ann.model.optimizer.learning_rate), ann.model.get_weights()))
        return fitted

    ann.model.fit = watched
    return seen


class Repeated:
    """A source whose every batch is the whole training set: in batches of one row, as many steps as it is long."""

    def __init__(self, steps):
        self.steps = steps

    def __len__(self):
        return self.steps

    def take(self, rows, rng):
        return TRAINING[0][..., np.newaxis], TRAINING[1].astype(np.float32)

    def digest(self):
        return f"repeated {self.steps}"


# --- means of the weights ---------------------------------------------------------------------------------------------


def test_the_exponential_mean_over_all_steps_is_kept():
    """Six steps: in six training epochs, whose weights are seen, and in two, of which the mean is kept."""
    plain, averaged = linear(), linear()
    seen = watch(plain)
    train(plain, Repeated(1), batch_size=1, epochs=6, choose=False)
    steps = [weights for _, weights in seen]
    mean = steps[0]
    for after in steps[1:]:
        mean = [MOMENTUM * m + (1 - MOMENTUM) * w for m, w in zip(mean, after, strict=True)]
    seen = watch(averaged)
    train(averaged, Repeated(3), batch_size=1, epochs=2, choose=False, average=MOMENTUM)
    for given, expected in zip(averaged.model.get_weights(), mean, strict=True):
        np.testing.assert_allclose(given, expected, rtol=1e-5, atol=1e-7)
    # the training itself goes on from the weights, not from their mean
    for given, expected in zip(seen[-1][1], steps[-1], strict=True):
        np.testing.assert_allclose(given, expected, rtol=1e-5, atol=1e-7)
    assert not same(plain, averaged)


def test_the_mean_is_what_is_validated_chosen_and_saved(tmp_path):
    ann = linear()
    rows = train(ann, epochs=5, average=MOMENTUM)
    kept = rows["val_rmse"][rows["kept"]].iloc[0]
    assert kept == rows["val_rmse"].min()
    assert np.sqrt(np.mean((ann.predict(VALIDATION[0]) - VALIDATION[1]) ** 2)) == pytest.approx(kept, rel=1e-5)
    plain = linear()
    assert train(plain, epochs=5)["val_rmse"].tolist()[1:] != rows["val_rmse"].tolist()[1:]
    for name, one in (("averaged", ann), ("plain", plain)):
        one.save(tmp_path / f"{name}.h5")
    loaded = EasyAI.load(tmp_path / "averaged.h5")
    assert same(loaded, ann)
    # the file does not carry a second set of weights
    assert (tmp_path / "averaged.h5").stat().st_size == pytest.approx((tmp_path / "plain.h5").stat().st_size, rel=0.01)
    train(loaded, epochs=1)


def test_batch_normalization_has_the_statistics_of_the_kept_weights():
    """By hand: mean and variance of what goes into each layer, over the training set, without Dropout."""
    ann = normalized(first=True)
    train(ann, epochs=2, batch_size=16, choose=False, average=MOMENTUM)
    layer = ann.model.get_layer
    scale, offset, mean, variance = layer("first").get_weights()
    assert mean == pytest.approx(TRAINING[0].mean(), rel=1e-5)
    assert variance == pytest.approx(TRAINING[0].var(), rel=1e-4)
    epsilon = layer("first").epsilon
    first = (TRAINING[0] - TRAINING[0].mean()) / np.sqrt(TRAINING[0].var() + epsilon) * scale + offset
    kernel, bias = layer("hidden").get_weights()
    hidden = np.maximum(first @ kernel + bias, 0.0)
    *_, mean, variance = layer("second").get_weights()
    np.testing.assert_allclose(mean, hidden.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(variance, hidden.var(axis=0), rtol=1e-3)


def test_statistics_come_from_the_first_spectra_of_a_large_training_set(monkeypatch):
    monkeypatch.setattr(averaging, "NORMALIZED_SPECTRA", 20)
    read = []

    class Counted(Repeated):
        def take(self, rows, rng):
            read.append(tuple(rows))
            return super().take(rows, rng)

    train(normalized(), Counted(40), epochs=1, batch_size=16, average=MOMENTUM)
    first, second, third = dict.fromkeys(read)
    assert [len(first), len(second), len(third)] == [16, 16, 8]
    assert read.count(third) == 1, "in its step alone"
    assert min(read.count(first), read.count(second)) > 1


AVERAGED = {"average": MOMENTUM, "cosine": True, "batch_size": 16, "epochs": 3}


@pytest.fixture(scope="module", params=[True, False], ids=["chosen", "last"])
def straight(request, tmp_path_factory):
    """A training with a mean in one go, with its checkpoints and its file."""
    folder, ann = tmp_path_factory.mktemp("straight"), normalized()
    train(ann, **AVERAGED, choose=request.param, checkpoints=folder / "checkpoints")
    ann.save(folder / "ann.h5")
    return ann, folder, request.param


def test_a_resumed_training_has_the_mean_of_one_in_one_go(straight, tmp_path, monkeypatch):
    ann, folder, choose = straight
    with monkeypatch.context() as patch:
        write = Checkpoints.write_last

        def stop_in_the_second(self, model, rows):
            if len(rows) == 2:
                raise KeyboardInterrupt
            write(self, model, rows)

        patch.setattr(Checkpoints, "write_last", stop_in_the_second)
        stopped = normalized()
        with pytest.raises(KeyboardInterrupt):
            train(stopped, **AVERAGED, choose=choose, checkpoints=tmp_path)
    assert same(stopped, normalized())
    resumed = normalized()
    train(resumed, **AVERAGED, choose=choose, checkpoints=tmp_path)
    assert resumed.history.equals(ann.history)
    resumed.save(tmp_path / "ann.h5")
    assert (tmp_path / "ann.h5").read_bytes() == (folder / "ann.h5").read_bytes()


def test_a_finished_training_gives_its_mean_without_a_step(straight, tmp_path):
    ann, folder, choose = straight
    checkpoints = shutil.copytree(folder / "checkpoints", tmp_path / "checkpoints")
    again = normalized()
    again.model.fit = None
    train(again, **AVERAGED, choose=choose, checkpoints=checkpoints)
    assert same(again, ann)
    assert again.history.equals(ann.history)


def test_other_rates_and_means_are_other_trainings(tmp_path):
    for options in ({}, {"cosine": True}, {"average": 0.8}, {"average": 0.9}):
        train(linear(), epochs=1, checkpoints=tmp_path, **options)
    assert len(list(tmp_path.glob("*-last.h5"))) == 4


# --- learning rates ---------------------------------------------------------------------------------------------------


def test_the_learning_rate_falls_as_a_cosine_does():
    stage = Stage("one", 0.4, 4, cosine=True)
    half = np.sqrt(0.5)
    rates = [0.4, 0.2 * (1 + half), 0.2, 0.2 * (1 - half)]
    assert [stage.rate(epoch) for epoch in (1, 2, 3, 4)] == pytest.approx(rates)
    assert [Stage("one", 0.4, 4).rate(epoch) for epoch in (1, 4)] == [0.4, 0.4]
    ann = linear()
    seen = watch(ann)
    train(ann, cosine=True)
    assert [rate for rate, _ in seen] == pytest.approx([0.03 * rate / 0.4 for rate in rates])


# --- weights of spectra -----------------------------------------------------------------------------------------------


def with_weights(data: tuple, weight) -> tuple:
    return *data, np.asarray(weight)


def spoilt(data: tuple, rows) -> tuple:
    spectra, label = data[0].copy(), data[1].copy()
    spectra[rows] += 5.0
    label[rows] -= 3.0
    return spectra, label


def test_a_spectrum_of_weight_0_does_not_count():
    rows = [3, 11, 17]
    no, yes = np.ones(40), np.ones(20)
    no[rows] = yes[rows] = 0.0
    expected, given = linear(), linear()
    train(expected, with_weights(TRAINING, no), with_weights(VALIDATION, yes))
    train(given, with_weights(spoilt(TRAINING, rows), no), with_weights(spoilt(VALIDATION, rows), yes))
    assert same(given, expected)
    assert given.history.equals(expected.history)
    assert not same(expected, train_new(TRAINING, VALIDATION)), "they did count before"


def train_new(training, validation, **options) -> EasyAI:
    ann = linear()
    train(ann, training, validation, **options)
    return ann


def test_rmse_is_the_weighted_one():
    weight = np.random.default_rng(3).uniform(0.1, 2.0, 20)
    ann = train_new(TRAINING, with_weights(VALIDATION, weight))
    square = (ann.predict(VALIDATION[0]) - VALIDATION[1]) ** 2
    kept = ann.history[ann.history["kept"]].iloc[0]
    assert kept["val_rmse"] == pytest.approx(np.sqrt(np.average(square, weights=weight)), rel=1e-5)
    assert kept["val_loss"] == pytest.approx(np.mean(weight * square), rel=1e-5)
    plain = ann.evaluate(VALIDATION)["rmse"]
    assert ann.evaluate(with_weights(VALIDATION, weight))["rmse"] == plain == pytest.approx(np.sqrt(square.mean()))


def test_the_choice_follows_the_weights_and_not_their_size():
    """Half of the validation set is what the network says before it learns; the other half is like the training set."""
    label = np.where(np.arange(20) < 10, linear().predict(VALIDATION[0]), VALIDATION[1])
    weight = np.where(np.arange(20) < 10, 1.0, 0.01)
    one, double, other = (
        train_new(TRAINING, (VALIDATION[0], label, values)) for values in (weight, 2 * weight, weight[::-1])
    )
    assert one.history["kept"].tolist() == double.history["kept"].tolist() == [True, *[False] * 4]
    assert other.history["kept"].tolist() == [*[False] * 4, True]
    assert one.history["val_rmse"].tolist() == pytest.approx(double.history["val_rmse"].tolist(), rel=1e-6)


def test_weights_of_1_change_nothing():
    equal = train_new(with_weights(TRAINING, np.ones(40)), with_weights(VALIDATION, np.ones(20)))
    assert same(equal, train_new(TRAINING, VALIDATION))


def test_weights_are_part_of_the_training_that_checkpoints_belong_to(tmp_path):
    for weight in (1.0, 0.5):
        train_new(with_weights(TRAINING, np.r_[weight, np.ones(39)]), VALIDATION, epochs=1, checkpoints=tmp_path)
    names = list(tmp_path.glob("*-last.h5"))
    assert len(names) == 2
    assert all(model_file.read(name).about["checkpoint"]["history"] for name in names)


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        (np.ones(39), "there are 40 spectra and 39 weights; pass one weight per spectrum"),
        (np.r_[-1.0, np.ones(39)], "must not be negative, and not all 0"),
        (np.zeros(40), "must not be negative, and not all 0"),
        (np.r_[np.nan, np.ones(39)], r"the weights of the training set: values are NaN or infinite in 1 of 40"),
        (["heavy"] * 40, "the weights of the training set: is no rectangular array of numbers"),
    ],
)
def test_wrong_weights_are_refused(weight, words):
    with pytest.raises(TableError, match=words):
        train(linear(), (*TRAINING, weight))
