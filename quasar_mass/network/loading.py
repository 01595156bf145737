"""From a model file to a network that predicts: by ONNX Runtime where that runs it, or else by Keras."""

import os
from collections.abc import Sequence

from quasar_mass.network.easyai import EasyAI
from quasar_mass.network.inference import Ensemble
from quasar_mass.network.keras_io import model_file
from quasar_mass.network.keras_io.model_file import ModelFile
from quasar_mass.network.onnx_graph import NotConvertible
from quasar_mass.network.onnx_network import OnnxNetwork


def load_network(file: ModelFile) -> OnnxNetwork | EasyAI:
    """Load the network of a file for predictions.

    Raises
    ------
    ModelError
        If the file cannot be used, or needs Keras and that is not installed.
    """
    try:
        return OnnxNetwork.load(file)
    except NotConvertible:
        return EasyAI.load(file)


def load_ensemble(paths: Sequence[str | os.PathLike]) -> Ensemble:
    """Load the networks of several files; ModelError where one cannot be used."""
    return Ensemble([load_network(model_file.read(path)) for path in paths])
