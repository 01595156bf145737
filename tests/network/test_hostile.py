"""Files of strangers: no code out of a file is run, no other file is read, no name leaves its folder or page."""

import ast
import contextlib
import json
import re
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table
from pages import HOSTILE
from pages import page as html_of

from quasar_mass.core.errors import FileError, ModelError, QuasarMassError, TableError
from quasar_mass.core.survey import HOME, Survey
from quasar_mass.network import backend
from quasar_mass.network.easyai import EasyAI
from quasar_mass.network.keras_io.model_arrays import read_arrays
from quasar_mass.predict.inputs import gather
from quasar_mass.report import page
from quasar_mass.spectra.sdss import read_spectrum
from quasar_mass.tables import formats, parquet, survey_tables
from quasar_mass.tables.build.pipeline import build

# Keras 3.15's own, under NumPy 2.4.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")

CANARY = "strangers_code"


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


@pytest.fixture
def path(keras, tmp_path) -> Path:
    layers = [
        keras.layers.Flatten(),
        keras.layers.Dense(2, activation="tanh", name="dense"),
        keras.layers.Dense(1, name="mass"),
    ]
    EasyAI(layers, (9, 1)).save(tmp_path / "model.h5")
    return tmp_path / "model.h5"


def refused(path: Path, match: str | None = None) -> str:
    with pytest.raises(ModelError, match=match) as caught:
        EasyAI.load(path)
    text = str(caught.value)
    assert "\n" not in text
    assert "safe_mode=False" not in text, "no advice to switch the protection off"
    return text


def reconfigured(path: Path, change, attribute: str = "model_config") -> None:
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs[attribute])
        change(config)
        file.attrs[attribute] = json.dumps(config)


# --- code -----------------------------------------------------------------------------------------------------------
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
    refused(tmp_path / "model.keras", r"ends in \.h5")
    (tmp_path / "model.keras").rename(tmp_path / "renamed.h5")
    refused(tmp_path / "renamed.h5", "cannot open")
    assert not sign.exists()


FOREIGN = {
    "a module of its own": {"module": CANARY, "class_name": "Layer", "config": {}, "registered_name": None},
    "a function of a module": {"module": CANARY, "class_name": "function", "config": "run", "registered_name": "run"},
    "the system": {"module": "os", "class_name": "system", "config": {"command": "touch sign"}},
    "the system's other name": {"module": "posix", "class_name": "function", "config": "system"},
    "built in": {"module": "builtins", "class_name": "eval", "config": "1", "registered_name": None},
    "a registered object": {"module": None, "class_name": "Layer", "config": {}, "registered_name": "mine>Layer"},
    "marshalled code": {"class_name": "__lambda__", "config": {"value": "4wAAAA=="}},
}


@pytest.mark.parametrize("what", FOREIGN)
@pytest.mark.parametrize("where", ["layer", "activation", "initializer", "loss", "optimizer", "metric"])
def test_foreign_code_is_refused_wherever_it_is_named_and_never_run(path, canary, what, where, monkeypatch):
    monkeypatch.chdir(canary.parent)

    def change(config):
        if where == "layer":
            config["config"]["layers"][2] = FOREIGN[what]
        elif where in ("activation", "initializer"):
            key = "activation" if where == "activation" else "kernel_initializer"
            config["config"]["layers"][2]["config"][key] = FOREIGN[what]
        elif where == "optimizer":
            config["optimizer_config"] = FOREIGN[what]
        else:
            config["loss" if where == "loss" else "metrics"] = FOREIGN[what] if where == "loss" else [[FOREIGN[what]]]

    reconfigured(path, change, "model_config" if where in ("layer", "activation", "initializer") else "training_config")
    refused(path)
    assert not canary.exists()


def test_no_code_of_ours_loads_what_could_run():
    """Look at every call in the package and the scripts, by its syntax.

    One room is left out: what `cluster` unpickles are tasks that this project's own processes send each other, as those
    of Dask and of multiprocessing always are, never a file.
    """
    sources = [*HOME.glob("*.py"), *(HOME / "quasar_mass").rglob("*.py"), *(HOME / "benchmarks").glob("*.py")]
    assert len(sources) > 80
    for source in sources:
        if source.name == "cluster.py":
            continue
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            where = f"{source.name}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import | ast.ImportFrom):
                module = getattr(node, "module", None) or ""
                names = {alias.name.split(".")[0] for alias in node.names} | {module.split(".")[0]}
                assert not names & {
                    "pickle",
                    "cPickle",
                    "dill",
                    "cloudpickle",
                    "marshal",
                    "shelve",
                    "joblib",
                    "yaml",
                }, where
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "compile", "__import__", "os.system", "os.popen"), where
            assert not called.endswith((".read_pickle", ".enable_unsafe_deserialization")), where
            for keyword in node.keywords:
                word, value = keyword.arg, ast.unparse(keyword.value)
                assert word != "safe_mode", where
                assert word != "allow_pickle" or value == "False", where
                assert not (word in ("shell", "custom_objects") and value not in ("False", "None")), where


def test_parquet_of_a_pickling_extension_type_is_not_unpickled(tmp_path, canary):
    import pickle

    class Bomb:
        def __reduce__(self):
            return __import__(CANARY).run, ()

    path = tmp_path / "quasars.parquet"
    monkey = pickle.dumps(Bomb())
    canary.unlink(missing_ok=True)
    field = pa.field(
        "OBJECT",
        pa.string(),
        metadata={b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": monkey},
    )
    table = pa.table(
        [pa.array(["a"])],
        schema=pa.schema([field], metadata={parquet.METADATA: b'{"kind": "sdss", "build": "a"}', b"pandas": monkey}),
    )
    pq.write_table(table, path)
    for read in (survey_tables.read_quasars, survey_tables.read_about, lambda path: gather([path], None)):
        with contextlib.suppress(QuasarMassError):
            read(path)
    assert not canary.exists()


# --- other files, and more than there is ----------------------------------------------------------------------------
@pytest.mark.parametrize("link", ["/etc/passwd", "other.h5"])
@pytest.mark.parametrize("where", ["model_weights", "model_weights/dense", "quasar_mass_arrays"])
def test_links_out_of_a_model_file_are_refused(path, where, link):
    with h5py.File(path.with_name("other.h5"), "w") as file:
        file["secret"] = np.arange(3)
    with h5py.File(path, "r+") as file:
        if where in file:
            del file[where]
        file[where] = h5py.ExternalLink(link if link.startswith("/") else str(path.with_name(link)), "/")
    assert "a link elsewhere" in refused(path)
    with pytest.raises(ModelError, match="a link elsewhere"):
        read_arrays(path, "quote")


def test_numbers_that_lie_in_another_file_are_refused(path, tmp_path):
    (tmp_path / "secret").write_bytes(bytes(64))
    with h5py.File(path, "r+") as file:
        file.create_dataset("outside", (16,), "f4", external=[(str(tmp_path / "secret"), 0, 64)])
    refused(path, "numbers stored in the file")
    with h5py.File(path, "r+") as file:
        del file["outside"]
        layout = h5py.VirtualLayout((16,), "f4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (16,))
        file.create_virtual_dataset("virtual", layout)
    refused(path, "numbers stored in the file")


def test_arrays_larger_than_their_bytes_are_refused_before_there_is_room_for_them(path):
    with h5py.File(path, "r+") as file:
        name = "model_weights/dense/easyai/dense/kernel"
        del file[name]
        file.create_dataset(name, (10**6, 10**6), "f4", chunks=(1000, 1000), compression="gzip")
    refused(path, "which is not there")


def test_networks_wider_than_their_weights_are_refused_before_they_are_built(path):
    reconfigured(path, lambda config: config["config"]["layers"][2]["config"].update(units=10**9))
    refused(path, "units up to")


def test_deep_nests_are_refused(path):
    with h5py.File(path, "r+") as file:
        file.create_group("/".join("a" * 100))
    refused(path, "plain tree")
    with h5py.File(path, "r+") as file:
        del file["a"]
        file["round"] = file["model_weights"]
    refused(path, "second time")
    with h5py.File(path, "r+") as file:
        del file["round"]
        file.attrs["quasar_mass"] = "[" * 30_000
    refused(path, "JSON object")


def test_weights_that_are_no_numbers_are_refused(path):
    with h5py.File(path, "r+") as file:
        file["model_weights/dense/easyai/dense/kernel"][0, 0] = np.nan
    refused(path, "NaN or infinity")


def test_a_zip_of_keras_under_our_ending_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.h5", "w") as file:
        file.writestr("../../outside", "x")
        file.writestr("config.json", "{}")
    refused(tmp_path / "model.h5", "cannot open")
    assert not (tmp_path.parent.parent / "outside").exists()


# --- names ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name", ["../../x", "/etc/passwd", "4000-56000-0001/../../x", "", "4000-56000-00\u0661", "$\\frac{1}$"]
)
def test_tables_whose_spectra_have_other_names_than_spectra_are_refused(tiny_survey, name):
    build(tiny_survey, step=1e-2, quiet=True)
    table = pq.read_table(tiny_survey.spectra)
    names = [name, *table.column("EPOCH").to_pylist()[1:]]
    pq.write_table(table.set_column(1, "EPOCH", pa.array(names)), tiny_survey.spectra)
    with pytest.raises(TableError, match="spectra named plate-mjd-fiber"):
        list(survey_tables.iterate_spectra(tiny_survey.spectra))


@pytest.mark.parametrize(
    "row", ["-1,56000,1", "4000,56000,0", "99999999,56000,1", "../../x,56000,1", "4000.5,56000,1", "inf,1,1"]
)
def test_tables_of_wanted_spectra_name_nothing_outside(tmp_path, row):
    path = tmp_path / "list.csv"
    path.write_text(f"plate,mjd,fiberid,z\n{row},1.6\n")
    with pytest.raises(TableError, match="row 1"):
        gather([path], Survey(tmp_path))


def test_a_list_that_names_itself_is_refused(tmp_path):
    (tmp_path / "one.txt").write_text(f"{tmp_path / 'two.txt'}\n")
    (tmp_path / "two.txt").write_text(f"{tmp_path / 'one.txt'}\n")
    with pytest.raises(FileError, match="names itself"):
        gather([tmp_path / "one.txt"], None)


@pytest.mark.parametrize("ending", ["fits", "ecsv", "csv", "parquet"])
def test_names_in_any_letters_can_be_written_in_every_format(tmp_path, ending):
    names = ["é中", 'a\nb\x1b,"c', "../../x", "plain"]
    path = tmp_path / f"masses.{ending}"
    table = pd.DataFrame({"OBJECT": names, "LMBH": [8.0, np.nan, 9.0, 8.5]})
    formats.write(table, path, {"OBJECT": ("", "name"), "LMBH": ("", "mass")}, {"model": "é.h5"})
    found = Table.read(path, format=formats.ENDINGS[path.suffix])
    expected = [ascii(name)[1:-1] if ending == "fits" else name for name in names]
    assert [str(name) for name in found["OBJECT"]] == expected
    assert [path.name for path in tmp_path.iterdir()] == [path.name]


# --- pages and terminals --------------------------------------------------------------------------------------------
class Elements(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.texts = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attributes]

    def handle_data(self, data):
        self.texts.append(data)


WORDS = (
    HOSTILE,
    "<script>alert(1)</script>",
    "&<>'\"\\",
    "<!--<script>",
    "]]>",
    "\u2028\u2029",
    "javascript:alert(1)",
    "' onload='x",
)


def parsed(text: str) -> Elements:
    elements = Elements()
    elements.feed(text)
    return elements


@pytest.mark.parametrize("words", WORDS)
def test_the_page_has_the_same_elements_whatever_the_names(words):
    plain, hostile = parsed(html_of("plain")), parsed(html_of(words))
    assert hostile.tags == plain.tags
    assert hostile.attributes == plain.attributes
    assert not any(name.startswith("on") for name in hostile.attributes)
    assert words in "".join(hostile.texts), "and says them in full"
    stored = re.search(r'id="data">(.*?)</script>', html_of(words), re.DOTALL)[1]
    assert json.loads(stored)["epoch"][0] == f"{words}0"


@pytest.mark.parametrize("words", WORDS)
def test_pictures_and_columns_escape_names_too(tmp_path, words):
    (tmp_path / "a.png").write_bytes(b"png")
    elements = parsed(page.picture(tmp_path / "a.png", words))
    assert elements.tags == ["figure", "img", "figcaption"]
    assert elements.attributes == ["alt", "src"]
    table = page.table(pd.DataFrame({words: [words], "n": [1]}).rename_axis(f"{words} "))
    assert set(parsed(table).tags) == {"div", "table", "thead", "tr", "th", "tbody", "td"}


def test_an_error_is_one_line_without_control_characters():
    error = FileError("a\x1b[31mb\nc", expected="x", got="\x07\u202e" + "y" * 5000, do="z")
    assert str(error).isprintable()
    assert len(str(error)) < 1000


def test_what_a_file_is_called_by_is_made_of_numbers_alone(tmp_path, make):
    path = make.spec(tmp_path / "odd.fits", spectrum=(-7, 56000, 1))
    assert re.fullmatch(r"[-\d]+", read_spectrum(path).epoch)  # figures are named so
