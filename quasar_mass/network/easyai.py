"""EasyAI: build, train in stages, evaluate, predict, save and load a Keras network, the same way every time.

Keras stands underneath in plain sight as `EasyAI.model`. What this wrapper adds: seeds and determinism before anything
is built, training that resumes exactly where it stopped, and a model file that describes itself.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from quasar_mass.core import evaluation
from quasar_mass.core.errors import ModelError
from quasar_mass.network import architecture, backend
from quasar_mass.network.batches import Arrays, batches, checked_pair, checked_spectra, digest, forward
from quasar_mass.network.checkpoints import Checkpoints, restore, snapshot
from quasar_mass.network.devices import MultiDevice
from quasar_mass.network.keras_io import model_file

HISTORY = ("stage", "training_epoch", "loss", "val_loss", "rmse", "val_rmse")
BIG_BATCH = 512  # spectra per step where nothing is learnt: the result is the same, the steps are fewer
FIRST_LEARNING_RATE = 1e-3  # of a network that is saved before it was trained; each stage sets its own


class EasyAI:
    """A regression network that takes spectra and gives one number each.

    Parameters
    ----------
    layers : sequence of keras.Layer
        The last one gives one value per spectrum. They are rebuilt from their configuration, since a Keras layer
        draws its random numbers when it is made, which is before the seed could be set here.
    input_shape : tuple of int
        Of one spectrum, for example ``(grid.size, 1)``.
    seed : int
        Of everything random. The same seed, data and versions give the same network, to the bit.

    Attributes
    ----------
    model : keras.Model
        The network itself, compiled.
    seed : int
    history : DataFrame
        One row per training epoch, all stages: stage, training_epoch, loss, val_loss, rmse, val_rmse.
    about : dict or None
        What the file this was loaded from says of it; empty if it was not loaded, None if that file says nothing.

    Raises
    ------
    ModelError
        If the layers cannot be rebuilt, do not fit the input or each other, or do not end in one value.
    """

    def __init__(self, layers: Sequence, input_shape: tuple, seed: int = 42) -> None:
        keras = backend.deterministic_keras(seed)
        try:
            if any(isinstance(layer, keras.layers.Lambda) for layer in layers):  # before Keras 3.13 rebuilt, then lost
                raise ValueError("a Lambda layer, which no file can hold safely")
            rebuilt = [layer.__class__.from_config(layer.get_config()) for layer in layers]
            model = keras.Sequential([keras.Input(tuple(input_shape), name="spectrum"), *rebuilt], name="easyai")
            empty = next((layer.name for layer in model.layers if 0 in layer.output.shape[1:]), None)
            if empty is not None:  # before Keras 3.13 built all the same
                raise ValueError(f"nothing is left after the layer {empty}")
        except Exception as error:  # Keras raises every kind
            raise ModelError(
                "the layers",
                expected=f"layers that can be rebuilt from their configuration and take {tuple(input_shape)}",
                got=f"{type(error).__name__} ({str(error).strip().splitlines()[0].rstrip('.:')})",
                do="change the layers (no Lambda) or the input shape",
            ) from error
        self._adopt(model, "the layers", seed, about={})
        self._compile(FIRST_LEARNING_RATE)

    def _adopt(self, model, where, seed: int, about: dict | None) -> None:
        if isinstance(model.input_shape, list) or model.output_shape != (None, 1):
            raise ModelError(
                where,
                expected="one input and one output value per spectrum",
                got=f"inputs {model.input_shape}, outputs {model.output_shape}",
                do="end with Dense(1)",
            )
        self.model, self.seed, self.about = model, seed, about
        known = about or {}
        self.history = pd.DataFrame(known.get("history", []), columns=list(HISTORY))
        self._stages = list(known.get("stages", []))
        self._versions = known.get("versions") or (backend.versions() if about == {} else None)

    # --- training -------------------------------------------------------------------------------------------------
    def train(
        self,
        training,
        validation: tuple,
        *,
        stages: Sequence = architecture.STAGES,
        checkpoints: str | os.PathLike | None = None,
        batch_size: int = architecture.BATCH_SIZE,
        devices: int = 1,
        choose: bool = True,
        quiet: bool = False,
    ) -> pd.DataFrame:
        """Train in stages; each ends with its best validation weights, from which the next one starts.

        Stopped at any moment and started again with the same arguments, it goes on after the last finished training
        epoch and ends with the very weights it would have had. An interrupted call leaves this network as it was.

        Parameters
        ----------
        training, validation : (spectra, labels)
            Spectra of shape (n, pixels) or (n, pixels, 1), labels of shape (n,) in log10(M_BH / M_Sun). Those of
            `dataset.stream` are read from disk batch by batch. `training` may also be a source that makes its batches
            itself (`augmentation`).
        stages : sequence of network.Stage
            Name, learning rate and number of training epochs of each.
        checkpoints : path, optional
            Folder for `<stage>-<fingerprint>-last.h5` and `-best.h5`. The fingerprint covers the network, its weights,
            the data, the stage, batch size, seed and versions: no other training's files are touched.
        batch_size : int
            Spectra per step.
        devices : int
            Of the backend's accelerators (without any: processors), among which each batch is dealt out. The losses are
            those of one device but for rounding; Dropout and the like draw otherwise on TensorFlow.
        choose : bool
            If not, each stage ends with its last weights: for a stage that learns another target than the validation
            labels, which then only watch.
        quiet : bool
            Print nothing.

        Returns
        -------
        DataFrame
            The rows of `history` that this call trained or found finished.

        Raises
        ------
        TableError
            If spectra or labels are empty, not finite, or differ in number.
        ModelError
            If the spectra do not fit the network, the loss is no longer finite, or there are not as many devices.
        LockError
            If another process is at the same training, with the same checkpoints.
        """
        keras = backend.deterministic_keras(self.seed)
        shape = self.model.input_shape[1:]
        if not hasattr(training, "take"):
            training = Arrays(*checked_pair(training, shape, "the training set"))
        validation = Arrays(*checked_pair(validation, shape, "the validation set"))
        data = [training.digest(), validation.digest()] if checkpoints is not None else None
        before = snapshot(self.model), self.model.optimizer
        records, rows = [], []
        try:
            for stage in stages:
                self._compile(stage.learning_rate)
                spread = MultiDevice(self.model, devices, batch_size) if devices > 1 else None
                files = None
                if checkpoints is not None:
                    files = Checkpoints(Path(checkpoints), stage, self._fingerprint(stage, batch_size, devices, data))
                with files.alone() if files else contextlib.nullcontext():
                    found = self._train_stage(
                        keras, stage, training, validation, files, batch_size, spread, choose, quiet
                    )
                rows += found
                best = min(found, key=lambda row: row["val_loss"], default=None) if choose else (found or [None])[-1]
                records.append(
                    {"name": stage.name, "learning_rate": stage.learning_rate, "training_epochs": stage.training_epochs}
                    | ({"kept_training_epoch": best["training_epoch"], "val_rmse": best["val_rmse"]} if best else {})
                )
        except BaseException:
            # Half-trained weights would start another training, which no checkpoint belongs to.
            self._compile(before[1])
            restore(self.model, before[0])
            raise
        self._stages += records
        self._versions = backend.versions()
        trained = pd.DataFrame(rows, columns=list(HISTORY))
        self.history = pd.concat([self.history, trained], ignore_index=True) if len(self.history) else trained.copy()
        return trained

    def _train_stage(
        self, keras, stage, training, validation, files, batch_size: int, spread, choose: bool, quiet: bool
    ) -> list[dict]:
        def say(text: str) -> None:
            if not quiet:
                print(f"{stage.name}  {text}", flush=True)

        rows, best = files.resume(self.model, say) if files else ([], None)
        best_loss = min((row["val_loss"] for row in rows), default=np.inf)
        to_validate = batches(keras, validation, BIG_BATCH)
        width = len(str(stage.training_epochs))
        for epoch in range(len(rows) + 1, stage.training_epochs + 1):
            began = time.monotonic()
            # The order is a function of seed, stage and training epoch alone, so that it needs no memory.
            name = int.from_bytes(hashlib.sha256(stage.name.encode()).digest()[:8])
            order = np.random.default_rng([self.seed, name, epoch]).permutation(len(training))
            shuffled = batches(keras, training, batch_size, order, seed=[self.seed, name, epoch])
            if spread is None:
                found = self.model.fit(shuffled, validation_data=to_validate, shuffle=False, verbose=0).history
                logs = {key: values[-1] for key, values in found.items()}
            else:
                logs = spread.fit(shuffled)
                # On one device: TensorFlow 2.21's evaluation on several gives another loss now and then.
                found = self.model.evaluate(to_validate, verbose=0, return_dict=True)
                logs |= {f"val_{key}": value for key, value in found.items()}
            row = {"stage": stage.name, "training_epoch": epoch}
            row |= {key: float(logs[key]) for key in HISTORY[2:]}
            if not np.isfinite(row["val_loss"]):
                raise ModelError(
                    f"stage {stage.name}, training epoch {epoch}",
                    expected="a finite validation loss",
                    got=f"{row['val_loss']}",
                    do="lower the learning rate or look at the spectra",
                )
            rows.append(row)
            improved = row["val_loss"] < best_loss
            if improved:
                best, best_loss = snapshot(self.model), row["val_loss"]
            if files:
                files.write(self.model, rows, improved)
            say(
                f"training epoch {epoch:{width}}/{stage.training_epochs}  loss {row['loss']:.4f}  validation RMSE "
                f"{row['val_rmse']:.4f} dex  {'(best)' if improved else '':6}  {time.monotonic() - began:.1f} s"
            )
        if best is not None and choose:
            restore(self.model, best)
        return rows

    def _compile(self, optimizer) -> None:
        """Loss and metric as objects: a file compiled with their names is one that Keras refuses to load."""
        keras = backend.import_keras()
        if isinstance(optimizer, float):
            # Named, since Keras would number it, and the numbers would enter the files.
            optimizer = keras.optimizers.Nadam(learning_rate=optimizer, name="nadam")
        self.model.compile(
            optimizer=optimizer,
            loss=keras.losses.MeanSquaredError(),
            metrics=[keras.metrics.RootMeanSquaredError(name="rmse")],
        )
        optimizer.build(self.model.trainable_variables)

    def _fingerprint(self, stage, batch_size: int, devices: int, data: list[str]) -> str:
        """SHA-256 of everything the course of a stage depends on."""
        keras = backend.import_keras()
        start = snapshot(self.model)
        what = {
            "network": self.model.get_config(),
            "stage": [stage.name, stage.learning_rate, stage.training_epochs],
            "batch_size": batch_size,
            "seed": self.seed,
            "data": data,
            "start": digest(start["weights"] + start["random"]),
            "versions": [keras.__version__, *backend.name_and_version()],
        } | ({"devices": devices} if devices > 1 else {})  # several round otherwise than one
        return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()

    # --- use ------------------------------------------------------------------------------------------------------
    def predict(self, spectra, batch_size: int = BIG_BATCH) -> np.ndarray:
        """Predict the mass of each spectrum.

        Parameters
        ----------
        spectra : array_like, shape (n, pixels) or (n, pixels, 1)
            In the tables' units; the network scales them itself.
        batch_size : int
            Spectra per step.

        Returns
        -------
        ndarray of float64, shape (n,)
            log10(M_BH / M_Sun).

        Raises
        ------
        TableError
            If values are not finite.
        ModelError
            If the spectra do not fit the network.
        """
        spectra = self.checked(spectra)
        if len(spectra) == 0:
            return np.empty(0)
        return forward(self.model, spectra, batch_size)[0].reshape(-1).astype(np.float64)

    def checked(self, spectra) -> np.ndarray:
        """Give spectra as the network takes them, float32 of shape (n, pixels, 1); errors as of `predict`."""
        return checked_spectra(spectra, self.model.input_shape[1:], "the spectra")

    def evaluate(self, test: tuple) -> dict:
        """Score the predictions for (spectra, labels), as `evaluation.scores` does."""
        spectra, label = checked_pair(test, self.model.input_shape[1:], "the test set")
        return evaluation.scores(label, self.predict(spectra))

    def summary(self) -> None:
        """Print the layers, their shapes and parameters."""
        self.model.summary()

    # --- files ----------------------------------------------------------------------------------------------------
    def save(self, path: str | os.PathLike, about: dict | None = None) -> None:
        """Write network, optimizer and description to one `.h5`, which `keras.models.load_model` opens as well.

        Parameters
        ----------
        path : path
            Ends in `.h5`.
        about : dict, optional
            What a user of the file must know (grid, units, label, survey, ...); added to what the file this was loaded
            from said. Versions, seed, stages, history and the number of parameters come on top. No time stamps: the
            same network gives the same bytes.

        Raises
        ------
        ModelError
            If `about` is not JSON or too long, or the path does not end in `.h5`.
        """
        facts = {
            "versions": self._versions,
            "seed": self.seed,
            "stages": self._stages,
            "history": self.history.to_dict("records"),
            "parameters": self.model.count_params(),
        }
        model_file.save(self.model, path, {**(self.about or {}), **(about or {}), **facts})

    @classmethod
    def load(cls, path: str | os.PathLike) -> "EasyAI":
        """Load a network from a file of `save`, or from any Keras `.h5` that takes spectra and gives one number.

        Raises
        ------
        ModelError
            If the file cannot be used.
        """
        # The file is looked at before TensorFlow is imported: a wrong path fails at once.
        seed = (model_file.read_about(path) or {}).get("seed", 42)
        backend.deterministic_keras(seed)
        model, about = model_file.load(path)
        ann = cls.__new__(cls)
        ann._adopt(model, path, seed, about)
        if not model.compiled:
            ann._compile(FIRST_LEARNING_RATE)
        return ann
