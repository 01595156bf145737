"""EasyAI: the same seed gives the same network, training resumes exactly, and errors say what to do."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from quasar_mass.core.errors import ModelError, TableError
from quasar_mass.network import architecture, backend
from quasar_mass.network.architecture import Stage
from quasar_mass.network.checkpoints import Checkpoints
from quasar_mass.network.easyai import EasyAI
from quasar_mass.network.keras_io import model_file

PIXELS = 12
ONE = (Stage("one", 1e-2, 4),)
TWO = (Stage("one", 1e-2, 2), Stage("two", 1e-3, 1))


def tiny_layers() -> list:
    """One layer of every kind of state: weights, moving averages, a random generator."""
    k = backend.import_keras().layers
    return [
        k.Conv1D(4, 3, activation="relu", name="conv"),
        k.BatchNormalization(name="norm"),
        k.Dropout(0.2, name="drop"),
        k.Flatten(name="flat"),
        k.Dense(1, name="mass"),
    ]


def tiny(seed: int = 1) -> EasyAI:
    return EasyAI(tiny_layers(), (PIXELS, 1), seed=seed)


def sample(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    spectra = rng.normal(0.4, 0.1, (n, PIXELS)).astype(np.float32)
    return spectra, 8.5 + spectra.mean(axis=1) + rng.normal(0, 0.1, n)


TRAINING, VALIDATION = sample(40, 0), sample(20, 1)


def train(ann: EasyAI, **options):
    return ann.train(TRAINING, VALIDATION, **{"stages": ONE, "batch_size": 16, "quiet": True} | options)


def same(a: EasyAI, b: EasyAI) -> bool:
    return all(
        np.array_equal(left, right) for left, right in zip(a.model.get_weights(), b.model.get_weights(), strict=True)
    )


@pytest.fixture(scope="module")
def straight() -> EasyAI:
    """Four training epochs in one go, without checkpoints."""
    ann = tiny()
    train(ann)
    return ann


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The checkpoints of the same training."""
    folder = tmp_path_factory.mktemp("finished")
    train(tiny(), checkpoints=folder)
    return folder


@pytest.fixture
def checkpoints(finished, tmp_path) -> Path:
    return shutil.copytree(finished, tmp_path / "checkpoints")


def test_the_same_seed_trains_to_the_same_bits(straight):
    again = tiny()
    rows = train(again)
    assert same(again, straight)
    assert rows.equals(straight.history)
    assert same(tiny(seed=1), tiny(seed=1))
    assert not same(tiny(seed=1), tiny(seed=2))


@pytest.mark.parametrize("write", ["write_best", "write_last"])
def test_resumed_training_ends_with_the_same_bits(straight, tmp_path, monkeypatch, write):
    """Also where the third training epoch's best state was written, and its last one was not."""
    with monkeypatch.context() as patch:
        whole = getattr(Checkpoints, write)

        def stop_in_the_third(self, model, rows):
            if len(rows) == 3:
                raise KeyboardInterrupt
            whole(self, model, rows)

        patch.setattr(Checkpoints, write, stop_in_the_third)
        stopped = tiny()
        with pytest.raises(KeyboardInterrupt):
            train(stopped, checkpoints=tmp_path)
    assert same(stopped, tiny()), "an interrupted training leaves the network as it was"
    resumed = tiny()
    train(resumed, checkpoints=tmp_path)
    assert same(resumed, straight)
    assert resumed.history.equals(straight.history)
    resumed.save(tmp_path / "resumed.h5")
    straight.save(tmp_path / "straight.h5")
    assert (tmp_path / "resumed.h5").read_bytes() == (tmp_path / "straight.h5").read_bytes(), "optimizer and all"


def test_a_finished_training_is_loaded_not_repeated(straight, checkpoints, monkeypatch, capsys):
    files = {path.name: path.read_bytes() for path in checkpoints.iterdir()}
    assert len(files) == 2
    again = tiny()
    monkeypatch.setattr(again.model, "fit", None)
    train(again, checkpoints=checkpoints, quiet=False)
    assert same(again, straight)
    assert again.history.equals(straight.history)
    assert capsys.readouterr().out.count("training epochs taken from") == 1
    assert {path.name: path.read_bytes() for path in checkpoints.iterdir()} == files


def test_checkpoints_of_other_trainings_are_left_alone(checkpoints):
    before = {path: path.read_bytes() for path in checkpoints.iterdir()}
    train(tiny(seed=2), checkpoints=checkpoints, batch_size=8)
    other = TRAINING[0].copy()
    other[3, 4] += 1e-3
    tiny().train((other, TRAINING[1]), VALIDATION, stages=ONE, batch_size=16, checkpoints=checkpoints, quiet=True)
    assert len(list(checkpoints.iterdir())) == 6
    assert all(path.read_bytes() == content for path, content in before.items())


@pytest.mark.parametrize("which", ["last", pytest.param("best", marks=pytest.mark.slow)])
def test_a_corrupt_checkpoint_is_said_and_replaced(straight, checkpoints, capsys, which):
    (path,) = checkpoints.glob(f"*-{which}.h5")
    path.write_bytes(path.read_bytes()[:2000])
    again = tiny()
    train(again, checkpoints=checkpoints, quiet=False)
    line = next(line for line in capsys.readouterr().out.splitlines() if "starts anew" in line)
    assert str(path) in line
    assert same(again, straight)
    assert model_file.read(path).about["checkpoint"]["history"]


def test_a_stage_that_only_gets_worse_keeps_the_weights_it_started_from(straight, tmp_path, capsys):
    weights, rmse = straight.model.get_weights(), straight.evaluate(VALIDATION)["rmse"]
    absurd = (Stage("absurd", 30.0, 3),)
    for _ in range(2):  # the second time it is all taken from checkpoints
        again = EasyAI.load(saved(straight, tmp_path))
        rows = train(again, stages=absurd, quiet=False, checkpoints=tmp_path)
        assert rows["training_epoch"].tolist() == [0, 1, 2, 3]
        assert rows["kept"].tolist() == [True, False, False, False]
        assert rows["val_rmse"][0] == pytest.approx(rmse, rel=1e-5)
        assert rows["val_rmse"][1:].min() > rmse
        assert "absurd  keeps the weights that it started from" in capsys.readouterr().out
        assert again.evaluate(VALIDATION)["rmse"] == pytest.approx(rmse, rel=1e-5)
        for left, right in zip(again.model.get_weights(), weights, strict=True):
            assert np.array_equal(left, right)
        loaded = EasyAI.load(saved(again, tmp_path))
        assert loaded.about["stages"][-1]["kept_training_epoch"] == 0
        assert loaded.history.equals(again.history)


def saved(ann: EasyAI, folder):
    ann.save(folder / "saved.h5")
    return folder / "saved.h5"


def test_a_saved_network_predicts_and_describes_itself(straight, tmp_path):
    path = tmp_path / "model.h5"
    straight.save(path, about={"grid": {"size": PIXELS}})
    loaded = EasyAI.load(path)
    assert np.array_equal(loaded.predict(TRAINING[0]), straight.predict(TRAINING[0]))
    assert loaded.about["grid"] == {"size": PIXELS}
    assert loaded.about["seed"] == loaded.seed == 1
    assert loaded.about["parameters"] == straight.model.count_params()
    assert loaded.about["stages"][0]["name"] == "one"
    assert {"python", "keras", "numpy", "quasar_mass"} < set(loaded.about["versions"])
    assert loaded.history.equals(straight.history)
    again = tmp_path / "again.h5"
    loaded.save(again)
    assert model_file.read(again).about == model_file.read(path).about


def test_predictions_do_not_depend_on_shape_or_company(straight):
    spectra = TRAINING[0]
    mass = straight.predict(spectra)
    assert mass.dtype == np.float64
    assert mass.shape == (40,)
    np.testing.assert_allclose(straight.predict(spectra[..., None], batch_size=7), mass, atol=1e-6)
    np.testing.assert_allclose(straight.predict(spectra[5:6]), mass[5:6], atol=1e-6)
    assert straight.predict(spectra[:0]).shape == (0,)


def test_errors_name_what_is_wrong(straight):
    spectra, label = sample(20, 2)
    broken = spectra.copy()
    broken[[3, 7], 2] = np.nan
    with pytest.raises(TableError, match=r"2 of 20 rows \(the first is row 3\)"):
        straight.predict(broken)
    with pytest.raises(TableError, match=r"the validation set.*2 of 20 rows"):
        straight.train((spectra, label), (broken, label), stages=ONE)
    with pytest.raises(TableError, match="20 spectra and 19 labels"):
        straight.train((spectra, label[1:]), VALIDATION, stages=ONE)
    with pytest.raises(TableError, match=r"labels of the training set.*1 of 20"):
        straight.train((spectra, np.where(np.arange(20) == 4, np.inf, label)), VALIDATION, stages=ONE)
    with pytest.raises(TableError, match="at least one"):
        straight.train((spectra[:0], label[:0]), VALIDATION, stages=ONE)
    with pytest.raises(ModelError, match=r"\(20, 11\).*\(n, 12, 1\)"):
        straight.predict(spectra[:, 1:])


def test_layers_that_do_not_fit_are_refused():
    k = backend.import_keras().layers
    with pytest.raises(ModelError, match="the layers"):
        EasyAI(tiny_layers(), (2, 1))  # shorter than the kernel
    with pytest.raises(ModelError, match="one value per spectrum"):
        EasyAI([k.Flatten(), k.Dense(2)], (PIXELS, 1))
    with pytest.raises(ModelError, match="Lambda"):
        EasyAI([k.Lambda(lambda x: x), k.Flatten(), k.Dense(1)], (PIXELS, 1))


def test_a_diverging_training_stops_with_a_sentence():
    huge = TRAINING[0] * np.float32(1e38), TRAINING[1]
    ann = tiny()
    with pytest.raises(ModelError, match="lower the learning rate"):
        ann.train(huge, huge, stages=ONE, quiet=True)
    assert same(ann, tiny())


def test_a_loaded_network_trains_on_and_its_recipe_says_so(straight, tmp_path):
    one, two = ({"learning_rate": rate} for rate in (1e-3, 1e-5))
    assert architecture.recipe({"stages": [one, two]}) == (
        "trained on the survey alone in two Nadam stages (1e-3, 1e-5)"
    )
    shipped = "pre-trained on simulated quasars, then trained on the survey's labels"
    assert architecture.recipe({"stages": [one, two], "pretrained_on": {}}) == shipped
    assert architecture.recipe({"stages": [one], "pretrained_on": {}}) == "pre-trained on simulated quasars alone"
    assert architecture.recipe({"stages": []}) == architecture.recipe(None) == "unknown"

    loaded = EasyAI.load(saved(straight, tmp_path))
    assert loaded.about["recipe"] == "trained on the survey alone in one Nadam stage (1e-2)"
    train(loaded, stages=TWO[1:])
    assert loaded.history["stage"].tolist() == ["one"] * 5 + ["two"] * 2
    again = EasyAI.load(saved(loaded, tmp_path))
    assert again.about["recipe"] == "trained on the survey alone in two Nadam stages (1e-2, 1e-3)"


@pytest.mark.parametrize("layers", [architecture.layers, architecture.published_layers])
def test_the_mass_network_fits_both_grids(layers):
    for step, pixels in ((1e-4, 3701), (5e-5, 7401)):
        ann = EasyAI(layers(step), (pixels, 1))
        kinds = [type(layer).__name__ for layer in ann.model.layers]
        assert [kinds.count(kind) for kind in ("Conv1D", "BatchNormalization", "LSTM", "Dense")] == [3, 1, 2, 2]
        assert kinds[kinds.index("BatchNormalization") - 1] == "Conv1D", "after the middle convolution"
        assert 300_000 < ann.model.count_params() < 550_000
        mass = ann.predict(np.full((2, pixels), 0.4))
        assert np.all(np.abs(mass - 8.5) < 1), "it starts at a typical mass"
    assert [layer.name for layer in ann.model.layers][-1] == "mass"


def test_a_stage_that_must_not_choose_ends_with_its_last_weights():
    wild = (Stage("wild", 1.0, 4),)  # whose best training epoch is not its last
    chosen, last = tiny(), tiny()
    rows = train(chosen, stages=wild)
    train(last, stages=wild, choose=False)
    assert rows["val_loss"].idxmin() < 4
    assert last.history["val_rmse"].tolist() == rows["val_rmse"].tolist()
    assert last.history["kept"].tolist() == [False] * 4 + [True]
    assert last.evaluate(VALIDATION)["rmse"] == pytest.approx(rows["val_rmse"].iloc[-1], rel=1e-4)
    assert chosen.evaluate(VALIDATION)["rmse"] == pytest.approx(rows["val_rmse"].min(), rel=1e-4)
