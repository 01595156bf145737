"""One network or several as one predictor: the mean mass, how much they disagree, and the last hidden layer.

Networks that differ only in their seed are a small deep ensemble (Lakshminarayanan et al. 2017, NeurIPS 30): their mean
has smaller errors than each of them, and they disagree about spectra that are unlike the training set.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quasar_mass.core.errors import ModelError
from quasar_mass.network import backend
from quasar_mass.network.batches import forward
from quasar_mass.network.easyai import EasyAI
from quasar_mass.network.keras_io.model_file import ModelFile

BATCH = 128  # spectra per step: what a step needs stays in the cache, a third faster than 512
NAME_LENGTH = 16  # hexadecimal digits of an ensemble's name: enough that no two ever share one


@dataclass(frozen=True)
class NetworkOutput:
    """What networks predict for spectra.

    Attributes
    ----------
    mass : ndarray of float64, shape (n,)
        log10(M_BH / M_Sun), the mean over the networks.
    ens_std : ndarray of float64, shape (n,)
        Standard deviation over the networks in dex; 0 for one network.
    hidden : ndarray of float32, shape (n, units)
        The last hidden layer of the first network.
    """

    mass: np.ndarray
    ens_std: np.ndarray
    hidden: np.ndarray


class Ensemble:
    """One network or several.

    Parameters
    ----------
    members : sequence of EasyAI
        Networks for the same spectra.

    Raises
    ------
    ModelError
        If there is none, or they expect different spectra.
    """

    def __init__(self, members: Sequence[EasyAI]) -> None:
        self.members = list(members)
        if not self.members:
            raise ModelError("--model", "names no model; name at least one")
        first = self.members[0]
        for number, other in enumerate(self.members[1:], 2):
            for what in ("grid", "extinction_corrected", "kind"):
                expected, given = ((member.about or {}).get(what) for member in (first, other))
                if expected != given or first.model.input_shape != other.model.input_shape:
                    raise ModelError(
                        f"model {number} of {len(self.members)}",
                        f"expects other spectra than the first one: {what} {given}, input {other.model.input_shape}, "
                        f"not {what} {expected}, input {first.model.input_shape}; "
                        "name models of one training with several seeds",
                    )
        self._hidden = _with_hidden(first.model)

    @classmethod
    def load(cls, paths: Sequence[Path | ModelFile]) -> "Ensemble":
        """Load model files, by path or as `model_file.read` gives them; errors as of `EasyAI.load`."""
        return cls([EasyAI.load(path) for path in paths])

    @property
    def first(self) -> EasyAI:
        """The first network, whose description stands for all."""
        return self.members[0]

    @property
    def name(self) -> str:
        """Hexadecimal digits that depend on the weights of all members, not on their order behind the first."""
        digests = [_weights_digest(member.model) for member in self.members]
        text = " ".join([digests[0], *sorted(digests[1:])])
        return hashlib.sha256(text.encode()).hexdigest()[:NAME_LENGTH]

    @property
    def units(self) -> int:
        """Width of the last hidden layer of the first network."""
        return self._hidden.output_shape[0][-1]

    def outputs(self, spectra: np.ndarray) -> NetworkOutput:
        """Predict, and give the last hidden layer too; parameters and errors as of `EasyAI.predict`."""
        spectra = self.first.checked(spectra)
        if len(spectra) == 0:
            return NetworkOutput(np.empty(0), np.empty(0), np.empty((0, self.units), np.float32))
        hidden, mass = forward(self._hidden, spectra, BATCH)
        masses = [mass.reshape(-1).astype(np.float64)] + [member.predict(spectra, BATCH) for member in self.members[1:]]
        return NetworkOutput(np.mean(masses, axis=0), np.std(masses, axis=0, ddof=int(len(masses) > 1)), hidden)


def _with_hidden(model):
    """The same network with two outputs: what goes into its last layer, flat, and the mass."""
    keras = backend.import_keras()
    if not isinstance(model, keras.Sequential) or len(model.layers) < 2:
        raise ModelError("the model", "is no stack of at least two layers; use a keras.Sequential model")
    hidden = model.layers[-1].input
    if len(hidden.shape) > 2:
        hidden = keras.layers.Flatten()(hidden)
    return keras.Model(model.inputs, [hidden, model.outputs[0]])


def _weights_digest(model) -> str:
    sha = hashlib.sha256()
    for weight in model.get_weights():
        sha.update(np.ascontiguousarray(weight).tobytes())
    return sha.hexdigest()
