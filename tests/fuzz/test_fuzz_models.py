"""Model files with damaged content: a predictor gives what Keras and h5py read from the same bytes, or refuses them."""

import io
import json
import shutil

import h5py
import numpy as np
import pytest

from quasar_mass.core.errors import QuasarMassError
from quasar_mass.core.survey import Grid, Survey
from quasar_mass.network import backend
from quasar_mass.network.easyai import EasyAI
from quasar_mass.network.keras_io.model_file import ARRAYS, CHECKSUM_SIZE
from quasar_mass.predict.calibrate import calibrate_file
from quasar_mass.predict.compatibility import takes_rest_frame
from quasar_mass.predict.predictor import Predictor
from quasar_mass.spectra.network_input import network_input
from quasar_mass.tables import dataset
from quasar_mass.tables.build.pipeline import build

STEP = 1e-3
VALUES = (None, True, 0, -1, 2**31, 10**12, 1e-3, float("nan"), float("inf"), "", "é", "../../x", [], {}, [1], "None")
TEXTS = ("", "{", "[1]", "null", "[" * 20_000, b"\xff\xfe", 3, [1.5, 2.5], np.void(b"abc"))
NUMBERS = (np.nan, np.inf, -1.0, 0.0, 1e20, 1e-20)


def _places(value, place=()) -> list[tuple]:
    """The keys that lead to each value in nested dictionaries and lists."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [*([place] if place else []), *(path for key, part in inner for path in _places(part, (*place, key)))]


def damage(file: h5py.File, rng: np.random.Generator) -> str:
    """Change one thing in a model file; says what."""
    names, attributes = [], [(file, key) for key in file.attrs]
    file.visititems(lambda name, part: names.append(name) if isinstance(part, h5py.Dataset) else None)
    file.visititems(lambda name, part: attributes.extend((part, key) for key in part.attrs))
    kind = rng.choice(["json", "json", "attribute", "values", "values", "removed", "shorter", "text"])
    if kind == "json":
        attribute = str(rng.choice(["model_config", "training_config", "quasar_mass"]))
        text = json.loads(file.attrs[attribute])
        places = _places(text)
        place, value = places[rng.integers(len(places))], VALUES[rng.integers(len(VALUES))]
        part = text
        for key in place[:-1]:
            part = part[key]
        part[place[-1]] = value
        file.attrs[attribute] = json.dumps(text)
        return f"{attribute} {place} = {value!r}"
    if kind == "attribute":
        (part, key), text = attributes[rng.integers(len(attributes))], TEXTS[rng.integers(len(TEXTS))]
        part.attrs[key] = text
        return f"attribute {part.name} {key} = {text!r:.20}"
    name = str(rng.choice(names))
    old = file[name][()]
    del file[name]
    if kind == "values":
        file[name] = np.full(old.shape, rng.choice(NUMBERS)).astype(old.dtype if old.dtype.kind == "f" else float)
    elif kind != "removed":
        file[name] = old.reshape(-1)[: max(1, old.size // 2)] if kind == "shorter" else ["a", "b"]
    return f"{kind}: {name}"


@pytest.fixture(scope="module")
def original(_tiny_original, tmp_path_factory) -> tuple[bytes, dataset.Dataset]:
    """A calibrated network without its checksum, and the survey it belongs to."""
    folder = tmp_path_factory.mktemp("models")
    survey = Survey(shutil.copytree(_tiny_original, folder / "survey"))
    build(survey, step=STEP, quiet=True)
    data, path = dataset.load(survey), folder / "model.h5"
    layers = backend.import_keras().layers
    network = [layers.Flatten(), layers.Dense(4, activation="tanh"), layers.Dense(1)]
    EasyAI(network, (Grid(STEP).size, 1)).save(path, dataset.describe(data.about, data.quasars, data.spectra))
    calibrate_file([path], survey, fresh=0, quiet=True)
    return path.read_bytes()[:-CHECKSUM_SIZE], data


@pytest.mark.parametrize("cases", [16, pytest.param(600, marks=pytest.mark.slow)])
def test_a_damaged_model_gives_what_its_bytes_say_or_is_refused_in_one_sentence(original, tmp_path, cases):
    content, data = original
    path, keras = tmp_path / "model.h5", backend.import_keras()
    sn, redshift = data.spectra["SN"].to_numpy(float), data.spectra["Z"].to_numpy(float)
    sentences = []
    for seed in range(cases):
        memory = io.BytesIO(content)
        with h5py.File(memory, "r+") as file:
            what = f"seed {seed}: {damage(file, np.random.default_rng(seed))}"
        path.write_bytes(memory.getvalue())
        try:
            predictor = Predictor.load(path, confidence=0.5)
            view = predictor.view(data.flux, redshift, sn)
            masses, flags = predictor.masses(view), predictor.flags(view, sn)
        except QuasarMassError as error:
            sentences.append(str(error))
            continue
        try:
            network = keras.models.load_model(path, compile=False)
        except Exception:  # noqa: BLE001 - of every kind, where a name or the like is damaged: the network is the old one
            path.with_name("original.h5").write_bytes(content)
            network = keras.models.load_model(path.with_name("original.h5"), compile=False)
        given = network_input(data.flux, redshift) if takes_rest_frame(predictor.ensemble.first) else data.flux
        plain = network.predict(given[..., None], verbose=0)[:, 0]
        np.testing.assert_allclose(masses["LMBH"], plain, rtol=1e-5, err_msg=what)
        assert len(flags) == len(masses), what
        if predictor.calibration is not None:
            assert not (masses["LMBH_LOW"] > masses["LMBH_HIGH"]).any(), what
            with h5py.File(path) as file:
                (group,) = file[ARRAYS].values()
                for key, value in vars(predictor.calibration.domain).items():
                    np.testing.assert_array_equal(value, group[f"limits.{key}"], err_msg=what)
    assert cases / 4 < len(sentences) < cases
    assert all(sentence.isprintable() and len(sentence) < 1000 for sentence in sentences)
