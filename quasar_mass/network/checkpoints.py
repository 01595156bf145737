"""The state of a training: taken and put back whole, and kept on disk after every training epoch."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from quasar_mass.core import locks
from quasar_mass.core.errors import ModelError
from quasar_mass.core.files import atomic_write
from quasar_mass.network.keras_io import model_file


class Checkpoints:
    """The two files of one stage of one training: its last training epoch and its best one."""

    def __init__(self, folder: Path, stage, fingerprint: str) -> None:
        self.stage, self.fingerprint = stage, fingerprint
        self.last = folder / f"{stage.name}-{fingerprint[:8]}-last.h5"
        self.best = folder / f"{stage.name}-{fingerprint[:8]}-best.h5"

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from the same training during the block.

        Raises
        ------
        LockError
            If another process is at it.
        """
        self.last.parent.mkdir(parents=True, exist_ok=True)
        lock = self.last.with_name(f".{self.stage.name}-{self.fingerprint[:8]}.lock")
        with locks.held(lock, where=self.last):
            yield

    def resume(self, model, say) -> tuple[list[dict], dict | None]:
        """Put the model where the last finished training epoch left it; the rows so far, and the best one's state."""
        if not self.last.exists():
            return [], None
        try:
            last, rows = self._read(self.last)
            best, _ = self._read(self.best)
        except ModelError as error:
            say(f"starts anew: {error}")
            return [], None
        restore(model, last)
        finished = len(rows) == self.stage.training_epochs
        say(f"{'all' if finished else 'the first'} {len(rows)} training epochs taken from {self.last}")
        return rows, best

    def write_best(self, model, rows: list[dict]) -> None:
        """Write the state to keep after a training epoch; before `write_last`, whose file refers to it."""
        self._write(self.best, model, rows)

    def write_last(self, model, rows: list[dict]) -> None:
        """Write the state from which the training goes on after a training epoch."""
        self._write(self.last, model, rows)

    def _write(self, path: Path, model, rows: list[dict]) -> None:
        state = {
            "fingerprint": self.fingerprint,
            "history": rows,
            "random": [value.tolist() for value in snapshot(model)["random"]],  # not in a `.h5`
        }
        model_file.save(model, path, {"checkpoint": state}, writer=atomic_write)

    def _read(self, path: Path) -> tuple[dict, list[dict]]:
        file = model_file.read(path)
        state = (file.about or {}).get("checkpoint", {})
        if state.get("fingerprint") != self.fingerprint:
            raise ModelError(path, "is no checkpoint of this training; it will be replaced")
        random = [np.asarray(value) for value in state["random"]]
        return snapshot(file.network()) | {"random": random}, state["history"]


def snapshot(model) -> dict:
    """All of a model's state: weights, random generators (Dropout has one), optimizer."""
    return {
        "weights": model.get_weights(),
        "random": [np.asarray(variable) for variable in _random_variables(model)],
        "optimizer": [np.asarray(variable) for variable in model.optimizer.variables],
    }


def restore(model, state: dict) -> None:
    """Put a model into a state that `snapshot` took of it or of one like it."""
    model.set_weights(state["weights"])
    for variable, value in zip(_random_variables(model), state["random"], strict=True):
        variable.assign(value)
    for variable, value in zip(model.optimizer.variables, state["optimizer"], strict=True):
        variable.assign(value)


def _random_variables(model) -> list:
    weights = {id(variable) for variable in model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]
