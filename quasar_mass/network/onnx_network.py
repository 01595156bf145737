"""A network of a model file, run by ONNX Runtime: what predictions need, without Keras."""

from collections.abc import Sequence

import numpy as np

from quasar_mass.network import onnx_graph
from quasar_mass.network.inference import checked_spectra, in_batches
from quasar_mass.network.keras_io.model_file import ModelFile
from quasar_mass.network.onnx_graph import HIDDEN, INPUT, MASS, NotConvertible

BATCH = 64  # spectra per step: what a step needs stays in the cache


class OnnxNetwork:
    """A network that predicts, and nothing else.

    Parameters
    ----------
    input_shape : tuple of int
        Of one spectrum.
    layers : sequence of onnx_graph.Layer
    about : dict or None
        The description in its file.

    Attributes
    ----------
    input_shape : tuple of int
    weights : list of ndarray
        As Keras has them.
    about : dict or None

    Raises
    ------
    NotConvertible
        If ONNX Runtime does not run it as Keras does.
    """

    def __init__(self, input_shape: tuple[int, ...], layers: Sequence[onnx_graph.Layer], about: dict | None) -> None:
        model = onnx_graph.build(input_shape, layers)
        import onnxruntime  # here: it takes a tenth of a second, and networks that are not converted need none of it

        options = onnxruntime.SessionOptions()
        # one thread for each step: several steps run at a time
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what it has to say is in its exceptions as well
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.input_shape, self.about = input_shape, about
        self.weights = [array for layer in layers for array in layer.weights]

    @classmethod
    def load(cls, file: ModelFile) -> "OnnxNetwork":
        """Take the network of a file.

        Raises
        ------
        ModelError
            If the file names code, or is damaged.
        NotConvertible
            If ONNX Runtime does not run it as Keras does.
        """
        try:
            return cls(*onnx_graph.layers(*file.layers()), file.about)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise NotConvertible("a description that is damaged, or of another form") from error

    def outputs(self, spectra) -> tuple[np.ndarray, np.ndarray]:
        """The last hidden layer, shape (n, units), and the masses, shape (n,); errors as of `checked_spectra`."""
        spectra = checked_spectra(spectra, self.input_shape, "the spectra")

        def step(batch: np.ndarray) -> list[np.ndarray]:
            return self._session.run([HIDDEN, MASS], {INPUT: batch})

        hidden, mass = in_batches(step, spectra, BATCH)
        return hidden, mass.reshape(-1).astype(np.float64)

    def predict(self, spectra) -> np.ndarray:
        """The masses, shape (n,); parameters and errors as of `EasyAI.predict`."""
        return self.outputs(spectra)[1]
