"""A trained network in other formats: Keras's own `.keras`, and ONNX, which needs neither Keras nor TensorFlow.

What is written is read again, and must predict the same masses as Keras before it gets its name.
"""

import json
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from quasar_mass.core.errors import ModelError
from quasar_mass.core.files import check_writable, locked_write
from quasar_mass.network import backend, onnx_graph

if TYPE_CHECKING:
    from quasar_mass.network.easyai import EasyAI

ENDINGS = (".keras", ".onnx")
TOLERANCE = 1e-4  # dex, the largest difference of a prediction; float32 in another order gives some 1e-6
N_SPECTRA = 32  # made-up ones, to compare the predictions for
DESCRIPTION = "quasar_mass"  # the name of the description in an ONNX file's metadata
MEMBER = "quasar_mass.json"  # and in a .keras, which is a zip archive
PIXELS = 512  # of a made-up spectrum, for a network that takes any number


def check_output(path: str | os.PathLike) -> Path:
    """Refuse an output that could not be written, before any work is done.

    Raises
    ------
    ModelError, FileError
        If the ending says no format; as of `check_writable`.
    """
    path = Path(path)
    if path.suffix not in ENDINGS:
        raise ModelError(path, f"the name must end in {' or '.join(ENDINGS)}")
    check_writable(path)
    return path


def export(model: "EasyAI", path: str | os.PathLike) -> float:
    """Write a network in the format of the file's ending; whole, and only if it predicts the same.

    The description of the network goes along: as `quasar_mass.json` inside a `.keras`, as the metadata entry
    `quasar_mass` of an ONNX file.

    Parameters
    ----------
    model : EasyAI
    path : path
        Ends in `.keras` or `.onnx`. An ONNX file takes float32 `spectra` of shape (n, pixels, 1) and gives
        `prediction` of shape (n, 1), log10(M_BH / M_Sun).

    Returns
    -------
    float
        The largest difference between a prediction of the file and one of `model`, in dex.

    Raises
    ------
    ModelError
        If the ending is no format, the network cannot be converted, or the file's predictions differ by more than
        `TOLERANCE`.
    """
    path = check_output(path)
    write, predict = (_write_keras, _predict_keras) if path.suffix == ".keras" else (_write_onnx, _predict_onnx)
    spectra = plausible_spectra(model.model.input_shape[1:])
    expected = model.predict(spectra)
    with locked_write(path) as temporary:
        write(model, temporary, path)
        difference = float(np.max(np.abs(predict(temporary, spectra) - expected)))
        if not difference <= TOLERANCE:  # so written, NaN is refused as well
            raise ModelError(
                path,
                f"no file was written: its predictions would differ by {difference:.2g} dex, more than {TOLERANCE:g}; "
                "use the .h5, and report the network's layers",
            )
    return difference


def plausible_spectra(shape: tuple, seed: int = 0) -> np.ndarray:
    """Make up spectra that exercise a network: power laws with broad lines and noise, bright and faint.

    Parameters
    ----------
    shape : tuple of int or None
        Of one spectrum; None means any number of pixels.
    seed : int

    Returns
    -------
    ndarray of float32, shape (N_SPECTRA, *shape)
        Around 0.4, the tables' typical luminosity density.
    """
    shape = tuple(PIXELS if size is None else size for size in shape)
    pixels = int(np.prod(shape))
    rng = np.random.default_rng(seed)
    x = np.linspace(0, 1, pixels)
    amplitude = 0.4 * 10 ** rng.normal(0, 0.4, (N_SPECTRA, 1))
    spectra = amplitude * np.exp(rng.normal(-0.8, 0.4, (N_SPECTRA, 1)) * x)
    for center in (0.2, 0.45, 0.8):
        width = rng.uniform(0.005, 0.02, (N_SPECTRA, 1))
        spectra += amplitude * rng.uniform(0, 1.5, (N_SPECTRA, 1)) * np.exp(-(((x - center) / width) ** 2) / 2)
    spectra += rng.normal(0, 0.1, (N_SPECTRA, 1)) * amplitude * rng.normal(size=(N_SPECTRA, pixels))
    return spectra.astype(np.float32).reshape(N_SPECTRA, *shape)


def _description(model: "EasyAI") -> str:
    return json.dumps(model.about or {})


# --- .keras -----------------------------------------------------------------------------------------------------------
def _write_keras(model: "EasyAI", temporary: Path, path: Path) -> None:
    model.model.save(temporary)
    with zipfile.ZipFile(temporary, "a") as archive:
        archive.writestr(MEMBER, _description(model))


def _predict_keras(path: Path, spectra: np.ndarray) -> np.ndarray:
    keras = backend.import_keras()
    return keras.models.load_model(path).predict(spectra, verbose=0).reshape(-1)


# --- ONNX -------------------------------------------------------------------------------------------------------------
def _write_onnx(model: "EasyAI", temporary: Path, path: Path) -> None:
    config, weights = json.loads(model.model.to_json()), [layer.get_weights() for layer in model.model.layers]
    try:
        stack = onnx_graph.layers(config, [arrays for arrays in weights if arrays])
        exported = onnx_graph.build(*stack, hidden=False)
    except onnx_graph.NotConvertible as reason:
        raise ModelError(path, f"this network cannot be written as ONNX ({reason}); export to .keras instead") from None
    exported.metadata_props.add(key=DESCRIPTION, value=_description(model))
    temporary.write_bytes(exported.SerializeToString())


def _predict_onnx(path: Path, spectra: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run([onnx_graph.MASS], {onnx_graph.INPUT: spectra})[0].reshape(-1)
