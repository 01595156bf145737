"""Files from strangers: no code in a file is run, and no other file is read."""

import contextlib
import json
import re
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quasar_mass.core.errors import ModelError, QuasarMassError
from quasar_mass.network import backend
from quasar_mass.network.easyai import EasyAI
from quasar_mass.predict.inputs import gather
from quasar_mass.tables import parquet, survey_tables

CANARY = "strangers_code"
KERNEL = "model_weights/dense/easyai/dense/kernel"
SOURCES = Path(backend.__file__).parents[1]


@pytest.fixture(scope="module")
def keras():
    return backend.import_keras()


@pytest.fixture
def canary(tmp_path, monkeypatch) -> Path:
    """A file that appears once the stranger's module is imported or its function is called."""
    sign = tmp_path / "sign"
    code = f"from pathlib import Path\nPath({str(sign)!r}).write_text('imported')\n"
    code += f"def run(*a, **k):\n    Path({str(sign)!r}).write_text('run')\n"
    code += "class Layer:\n    def __init__(self, *a, **k):\n        run()\n    from_config = run\n"
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / f"{CANARY}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path / "code")
    return sign


@pytest.fixture(scope="module")
def saved(keras, tmp_path_factory) -> bytes:
    k = keras.layers
    path = tmp_path_factory.mktemp("model") / "model.h5"
    EasyAI([k.Flatten(), k.Dense(2, activation="tanh", name="dense"), k.Dense(1, name="mass")], (9, 1)).save(path)
    return path.read_bytes()


@pytest.fixture
def path(saved, tmp_path) -> Path:
    (tmp_path / "model.h5").write_bytes(saved)
    return tmp_path / "model.h5"


def refused(path: Path, match: str | None = None) -> None:
    with pytest.raises(ModelError, match=match) as caught:
        EasyAI.load(path)
    assert "\n" not in str(caught.value)
    assert "safe_mode=False" not in str(caught.value), "no advice to switch the protection off"


# --- code in model files ----------------------------------------------------------------------------------------------
def test_a_lambda_layer_with_marshalled_code_is_refused_and_never_run(keras, tmp_path):
    sign = tmp_path / "sign"
    spy = eval(f"lambda x: (open({str(sign)!r}, 'w').close(), x)[1]")
    model = keras.Sequential(
        [keras.Input((9, 1)), keras.layers.Lambda(spy), keras.layers.Flatten(), keras.layers.Dense(1)]
    )
    model.save(tmp_path / "model.h5")
    sign.unlink(missing_ok=True)  # Keras ran it to learn its shape
    refused(tmp_path / "model.h5", "safe mode")
    model.save(tmp_path / "model.keras")
    sign.unlink(missing_ok=True)
    refused(tmp_path / "model.keras", r"must end in \.h5")
    (tmp_path / "model.keras").rename(tmp_path / "renamed.h5")
    refused(tmp_path / "renamed.h5", "cannot open")
    assert not sign.exists()


FOREIGN = {
    "a module of its own": {"module": CANARY, "class_name": "Layer", "config": {}, "registered_name": None},
    "a function of a module": {"module": CANARY, "class_name": "function", "config": "run", "registered_name": "run"},
    "the system": {"module": "os", "class_name": "system", "config": {"command": "touch sign"}},
    "built in": {"module": "builtins", "class_name": "eval", "config": "1", "registered_name": None},
    "a registered object": {"module": None, "class_name": "Layer", "config": {}, "registered_name": "mine>Layer"},
    "marshalled code": {"class_name": "__lambda__", "config": {"value": "4wAAAA=="}},
}
PLACES = {
    "layer": ("model_config", ("config", "layers", 2)),
    "activation": ("model_config", ("config", "layers", 2, "config", "activation")),
    "initializer": ("model_config", ("config", "layers", 2, "config", "kernel_initializer")),
    "loss": ("training_config", ("loss",)),
    "optimizer": ("training_config", ("optimizer_config",)),
}


def reconfigured(path: Path, attribute: str, keys: tuple, value: object) -> None:
    with h5py.File(path, "r+") as file:
        config = inner = json.loads(file.attrs[attribute])
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        file.attrs[attribute] = json.dumps(config)


@pytest.mark.parametrize("what", FOREIGN)
def test_foreign_code_is_refused_wherever_it_is_named_and_never_run(saved, path, canary, what, monkeypatch):
    monkeypatch.chdir(canary.parent)
    for attribute, keys in PLACES.values():
        path.write_bytes(saved)
        reconfigured(path, attribute, keys, FOREIGN[what])
        refused(path)
        assert not canary.exists()


def test_no_module_unpickles_files_or_switches_a_protection_off():
    unsafe = re.compile(
        r"import pickle|read_pickle|allow_pickle=True|safe_mode=False|enable_unsafe|shell=True|[^.\w](eval|exec)\("
    )
    for source in SOURCES.rglob("*.py"):
        if source.name != "cluster.py":  # sends tasks between this project's own processes, and reads no file
            assert not unsafe.search(source.read_text(encoding="utf-8")), source


def test_parquet_of_a_pickling_extension_type_is_not_unpickled(tmp_path, canary):
    import pickle

    class Bomb:
        def __reduce__(self):
            return __import__(CANARY).run, ()

    path = tmp_path / "quasars.parquet"
    pickled = pickle.dumps(Bomb())
    canary.unlink(missing_ok=True)
    field = pa.field(
        "OBJECT",
        pa.string(),
        metadata={b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": pickled},
    )
    table = pa.table(
        [pa.array(["a"])],
        schema=pa.schema([field], metadata={parquet.METADATA: b'{"kind": "sdss", "build": "a"}', b"pandas": pickled}),
    )
    pq.write_table(table, path)
    for read in (survey_tables.read_quasars, survey_tables.read_about, lambda path: gather([path], None)):
        with contextlib.suppress(QuasarMassError):
            read(path)
    assert not canary.exists()


# --- model files that refer to other files, or claim more than they hold ----------------------------------------------
@pytest.mark.parametrize("where", ["model_weights", "model_weights/dense", "quasar_mass_arrays"])
def test_links_out_of_a_model_file_are_refused(path, where):
    with h5py.File(path.with_name("other.h5"), "w") as file:
        file["secret"] = np.arange(3)
    with h5py.File(path, "r+") as file:
        if where in file:
            del file[where]
        file[where] = h5py.ExternalLink(str(path.with_name("other.h5")), "/")
    refused(path, "a link elsewhere")


def test_numbers_that_lie_in_another_file_are_refused(path, tmp_path):
    (tmp_path / "secret").write_bytes(bytes(64))
    with h5py.File(path, "r+") as file:
        file.create_dataset("outside", (16,), "f4", external=[(str(tmp_path / "secret"), 0, 64)])
    refused(path, "not stored in the file")
    with h5py.File(path, "r+") as file:
        del file["outside"]
        layout = h5py.VirtualLayout((16,), "f4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (16,))
        file.create_virtual_dataset("virtual", layout)
    refused(path, "not stored in the file")


def test_arrays_larger_than_their_bytes_are_refused_before_memory_is_taken_for_them(path):
    with h5py.File(path, "r+") as file:
        del file[KERNEL]
        file.create_dataset(KERNEL, (10**6, 10**6), "f4", chunks=(1000, 1000), compression="gzip")
    refused(path, "not stored in the file")


def test_networks_wider_than_their_weights_are_refused_before_they_are_built(path):
    reconfigured(path, "model_config", ("config", "layers", 2, "config", "units"), 10**9)
    refused(path, "units of 1000000000")
