"""Keras's two backends, each in a process of its own: training, resuming, predicting, one or several devices."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

HOME = Path(__file__).resolve().parent.parent.parent
# Warnings are errors there too, but for Keras's own under NumPy 2.
STRICT = ["-W", "error", "-W", "ignore:__array__ implementation doesn't accept:DeprecationWarning"]
TOLERANCE = 1e-5  # relative, between losses on one device and on two: rounding, as it adds up in 16 steps

# A network with every kind of state, a training of 49 spectra in batches of 16 and a single one, and a way to stop it.
START = """
import sys
from pathlib import Path
import numpy as np
from quasar_mass.network import backend
from quasar_mass.network import easyai
from quasar_mass.network.architecture import Stage
folder = Path(sys.argv[1])
keras = backend.import_keras()
k = keras.layers
ONE, TWO = (Stage("one", 1e-2, 4),), (Stage("two", 1e-3, 1),)
AVERAGED = (Stage("one", 1e-2, 4, cosine=True, average=0.8),)
DROPOUT, PIXELS = False, 24

def make():
    drop = [k.Dropout(0.2, name="drop")] if DROPOUT else []
    first, second = [k.Conv1D(4, 3, activation="relu", name=name) for name in ("first", "second")]
    end = [k.Flatten(name="flat"), k.Dense(1, name="dense")]  # all named, or Keras would number them
    layers = [first, k.BatchNormalization(name="norm"), second, *drop, *end]
    return easyai.EasyAI(layers, (PIXELS, 1), seed=1)

def sample(n, seed):
    spectra = np.random.default_rng(seed).normal(0, 1, (n, PIXELS)).astype(np.float32)
    return spectra, 1 + spectra[:, 3:6].sum(axis=1) / 2

def train(ann, **options):
    data = {"training": sample(49, 0), "validation": sample(515, 1)}
    return ann.train(**{**data, "stages": ONE, "batch_size": 16, "quiet": True} | options)

def interrupted(**options):
    write = easyai.Checkpoints.write_last
    def stop(self, model, rows):
        if len(rows) == 3:
            raise KeyboardInterrupt
        write(self, model, rows)
    easyai.Checkpoints.write_last = stop
    try:
        train(make(), checkpoints=folder / "checkpoints", **options)
    except KeyboardInterrupt:
        return
    finally:
        easyai.Checkpoints.write_last = write
    raise AssertionError("not interrupted")

def resumed_is_straight(straight, **options):
    interrupted(**options)
    resumed = make()
    train(resumed, checkpoints=folder / "checkpoints", **options)
    for name, ann in (("straight", straight), ("resumed", resumed)):
        ann.save(folder / f"{name}.h5")
    assert (folder / "straight.h5").read_bytes() == (folder / "resumed.h5").read_bytes()
"""
# Two virtual devices, made before anything else touches them.
TWO = """
if keras.backend.backend() == "jax":
    assert len(keras.distribution.list_devices()) == 2
else:
    import tensorflow as tf
    cpu, = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
"""


def run(code: str, *arguments, backend: str, status: int = 0) -> subprocess.CompletedProcess:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed: pip install -r requirements-test.txt")
    return launch([*STRICT, "-c", code, *map(str, arguments)], backend, status)


def launch(arguments: list, backend: str, status: int = 0) -> subprocess.CompletedProcess:
    environment = os.environ | {"KERAS_BACKEND": backend, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=HOME, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == status, done.stderr[-3000:]
    return done


def test_jax_trains_and_resumes_to_the_bit_without_tensorflow(tmp_path):
    code = """
DROPOUT = True
straight = make()
rows = train(straight, stages=AVERAGED)
assert rows["loss"].iloc[-1] < 0.7 * rows["loss"].iloc[1], rows
resumed_is_straight(straight, stages=AVERAGED)
loaded = easyai.EasyAI.load(folder / "resumed.h5")
spectra, label = sample(60, 2)
assert np.array_equal(loaded.predict(spectra), straight.predict(spectra))
assert loaded.evaluate((spectra, label)) == straight.evaluate((spectra, label))
assert loaded.about["versions"]["jax"]
train(loaded, stages=TWO)
assert "tensorflow" not in sys.modules
"""
    done = run(START + code, tmp_path, backend="jax")
    assert done.stdout + done.stderr == ""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_devices_learn_what_one_learns(tmp_path, backend):
    code = """
from quasar_mass.core.errors import ModelError
one, two = make(), make()
for name, ann, count in (("one", one, 1), ("two", two, 2)):
    train(ann, devices=count).to_csv(folder / f"{name}.csv", index=False)
resumed_is_straight(two, devices=2)
train(make(), checkpoints=folder / "checkpoints")
assert len(list((folder / "checkpoints").glob("*.h5"))) == 4, "one device and two have checkpoints of their own"
one.save(folder / "one.h5")
import h5py
checkpoint = next((folder / "checkpoints").glob("*-best.h5"))
with h5py.File(folder / "one.h5") as left, h5py.File(checkpoint) as right:
    assert left.attrs["model_config"] == right.attrs["model_config"], "files do not depend on devices"
for options in ({"devices": 3, "batch_size": 15}, {"devices": 2, "batch_size": 15}):
    try:
        train(make(), **options)
    except ModelError as error:
        print(error)
"""
    done = run(START + TWO + code, tmp_path, backend=backend)
    assert done.stderr == ""
    one, two = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("one", "two"))
    numbers = ["loss", "val_loss", "rmse", "val_rmse"]
    np.testing.assert_allclose(two[numbers], one[numbers], rtol=TOLERANCE)
    assert np.ptp(one["val_loss"]) > 0.05 * one["val_loss"].min(), "the losses differ enough to compare them"
    too_many, uneven = done.stdout.splitlines()
    assert too_many.startswith("the devices: there are only 2 (")
    assert too_many.endswith("); train with devices=2.")
    assert uneven == "the batch size: 15 is no multiple of the 2 devices; choose another one."


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_devices_keep_the_mean_of_the_weights_that_one_keeps(tmp_path, backend):
    code = """
for name, count in (("one", 1), ("two", 2)):
    train(make(), devices=count, stages=AVERAGED).to_csv(folder / f"{name}.csv", index=False)
"""
    run(START + TWO + code, tmp_path, backend=backend)
    one, two = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("one", "two"))
    numbers = ["loss", "val_loss", "rmse", "val_rmse"]
    np.testing.assert_allclose(two[numbers], one[numbers], rtol=TOLERANCE)


@pytest.mark.parametrize(
    ("backend", "sentence"),
    [
        ("torch", "torch is not supported; set KERAS_BACKEND to tensorflow or jax"),
        ("jax", "jax is not installed; run: pip install 'quasar-mass-ml[jax]'"),
    ],
)
def test_a_backend_that_cannot_be_used_is_one_sentence(backend, sentence, tmp_path):
    code = """
import sys
sys.modules["jax"] = None  # as if it were not installed
from quasar_mass.cli import quasar_analysis
sys.exit(quasar_analysis.main(["export", "--output", sys.argv[1]]))
"""
    done = launch(["-c", code, tmp_path / "model.keras"], backend, status=1)
    assert done.stderr == f"error: Keras's backend: {sentence}.\n"
    assert done.stdout == ""
