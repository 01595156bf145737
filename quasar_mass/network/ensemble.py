"""One network or several as one predictor: the mean mass, how much they disagree, and what the last hidden layer says.

Networks that differ in their seed alone are a small deep ensemble (Lakshminarayanan et al. 2017, NeurIPS 30): their
mean errs less than one of them, and where they disagree, none has learnt what to say.
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

BATCH = 128  # spectra per step: what a step needs stays in the cache, a third faster than 512
NAME_LENGTH = 16  # hexadecimal digits of an ensemble's name: enough that no two ever share one


@dataclass(frozen=True)
class NetworkOutput:
    """What networks make of spectra.

    Attributes
    ----------
    mass : ndarray of float64, shape (n,)
        log10(M_BH / M_Sun), the mean over the networks.
    spread : ndarray of float64, shape (n,)
        Standard deviation over the networks in dex; 0 for one network.
    hidden : ndarray of float32, shape (n, units)
        The last hidden layer of the first network.
    """

    mass: np.ndarray
    spread: np.ndarray
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
            raise ModelError("--model", expected="at least one model", got="none", do="name one")
        first = self.members[0]
        for number, other in enumerate(self.members[1:], 2):
            for what in ("grid", "extinction_corrected", "kind"):
                one, two = (member.about.get(what) if member.about else None for member in (first, other))
                if one != two or first.model.input_shape != other.model.input_shape:
                    raise ModelError(
                        f"model {number} of {len(self.members)}",
                        expected=f"the same {what} as the first one's, {one}",
                        got=f"{two}, input {other.model.input_shape}",
                        do="name models of one training with several seeds",
                    )
        self._hidden = _with_hidden(first.model)

    @classmethod
    def load(cls, paths: Sequence[Path]) -> "Ensemble":
        """Load model files; errors as of `EasyAI.load`."""
        return cls([EasyAI.load(path) for path in paths])

    @property
    def first(self) -> EasyAI:
        """The first network, whose description stands for all."""
        return self.members[0]

    @property
    def name(self) -> str:
        """Hexadecimal digits that depend on the weights of all members, not on their order behind the first."""
        digests = [_weights(member.model) for member in self.members]
        text = " ".join([digests[0], *sorted(digests[1:])])
        return hashlib.sha256(text.encode()).hexdigest()[:NAME_LENGTH]

    @property
    def units(self) -> int:
        """Width of the last hidden layer of the first network."""
        return self._hidden.output_shape[0][-1]

    def look(self, spectra: np.ndarray) -> NetworkOutput:
        """Predict, and keep the last hidden layer; parameters and errors as of `EasyAI.predict`."""
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
        raise ModelError(
            "the model", expected="a stack of layers", got=type(model).__name__, do="use a Sequential model"
        )
    hidden = model.layers[-1].input
    if len(hidden.shape) > 2:
        hidden = keras.layers.Flatten()(hidden)
    return keras.Model(model.inputs, [hidden, model.outputs[0]])


def _weights(model) -> str:
    sha = hashlib.sha256()
    for weight in model.get_weights():
        sha.update(np.ascontiguousarray(weight).tobytes())
    return sha.hexdigest()
