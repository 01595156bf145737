"""EasyAI: build, train in stages, evaluate, predict, save and load a Keras network, the same way every time.

Keras is used underneath and can be reached as `EasyAI.model`. This class adds seeds and determinism before anything is
built, training that resumes exactly where it stopped, and a model file that describes itself.
"""

import contextlib
import functools
import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from quasar_mass.core import evaluation
from quasar_mass.core.errors import ModelError, first_line
from quasar_mass.network import architecture, averaging, backend
from quasar_mass.network.batches import Arrays, batches, digest
from quasar_mass.network.checkpoints import Checkpoints, restore, snapshot
from quasar_mass.network.devices import MultiDevice
from quasar_mass.network.inference import checked_set, checked_spectra, in_batches
from quasar_mass.network.keras_io import model_file
from quasar_mass.network.keras_io.model_file import ModelFile

SCORES = ("loss", "val_loss", "rmse", "val_rmse")
HISTORY = {"stage": object, "training_epoch": int, **dict.fromkeys(SCORES, float), "kept": bool}  # columns and types
BIG_BATCH = 512  # spectra per step without training: the result is the same, the steps are fewer
SMALL_BATCH = 128  # likewise, where what a step needs stays in the cache: a third faster
FIRST_LEARNING_RATE = 1e-3  # of a network that is saved before it was trained; each stage sets its own


@dataclass(frozen=True)
class _Options:
    """What all stages of one call of `EasyAI.train` have in common."""

    batch_size: int
    devices: int
    choose: bool
    quiet: bool


class EasyAI:
    """A regression network: one number, such as a black-hole mass, for each spectrum.

    Parameters
    ----------
    layers : sequence of keras.Layer
        The last one gives one value per spectrum, for example ``Dense(1)``. `architecture.layers` makes those of this
        project. They are rebuilt from their configuration, since a Keras layer draws its random numbers when it is
        made, before the seed is set here.
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
        A row for each training epoch of all stages: stage, training_epoch, loss, val_loss, rmse, val_rmse (dex) and
        kept. Training epoch 0 stands for the weights that a stage starts from; it has no training loss. ``kept`` is
        true in one row of each stage, whose weights it ended with.
    about : dict or None
        The description in the file this was loaded from; empty if it was not loaded, None if that file has none.

    Raises
    ------
    ModelError
        If the layers cannot be rebuilt, do not fit the input or each other, or do not end in one value.

    Examples
    --------
    A small network learns the mean of 12 pixels:

    >>> import numpy as np
    >>> from quasar_mass.network.architecture import Stage
    >>> from quasar_mass.network.backend import import_keras
    >>> from quasar_mass.network.easyai import EasyAI
    >>> spectra = np.random.default_rng(0).normal(0.4, 0.1, (200, 12))
    >>> mass = 8.0 + spectra.mean(axis=1)
    >>> layers = import_keras().layers
    >>> ann = EasyAI([layers.Flatten(), layers.Dense(1)], input_shape=(12, 1), seed=1)
    >>> history = ann.train(
    ...     (spectra[:150], mass[:150]),
    ...     (spectra[150:], mass[150:]),
    ...     stages=[Stage("only", learning_rate=0.1, training_epochs=30)],
    ...     quiet=True,
    ... )
    >>> len(history)  # the weights it starts from, and 30 training epochs
    31
    >>> ann.predict(spectra[:5]).shape
    (5,)
    >>> ann.evaluate((spectra[150:], mass[150:]))["rmse"] < 0.5
    True

    It is saved to one file, which Keras opens as well, and loaded again:

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ann.save(f"{folder}/small.h5", about={"label": "the mean of the pixels plus 8"})
    ...     loaded = EasyAI.load(f"{folder}/small.h5")
    >>> loaded.about["label"]
    'the mean of the pixels plus 8'
    >>> bool((loaded.predict(spectra) == ann.predict(spectra)).all())
    True
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
                f"do not make a network for spectra of shape {tuple(input_shape)} ({first_line(error)}); "
                "change the layers or the input shape",
            ) from error
        self._adopt(model, "the layers", seed, about={})
        self._compile(FIRST_LEARNING_RATE)

    def _adopt(self, model, where, seed: int, about: dict | None) -> None:
        if isinstance(model.input_shape, list) or model.output_shape != (None, 1):
            raise ModelError(
                where,
                f"must have one input and give one value per spectrum, not inputs {model.input_shape} and outputs "
                f"{model.output_shape}; end with Dense(1)",
            )
        self.model, self.seed, self.about = model, seed, about
        facts = about or {}
        self._stages = list(facts.get("stages", []))
        self._versions = facts.get("versions") or (backend.versions() if about == {} else None)
        try:
            kept = [(stage.get("name"), stage.get("kept_training_epoch")) for stage in self._stages]
            # files of earlier versions have no column `kept`
            rows = [{"kept": (row["stage"], row["training_epoch"]) in kept} | row for row in facts.get("history") or ()]
            self.history = _history(rows)
        except (LookupError, TypeError, ValueError) as error:
            raise ModelError(where, "has a training history that is no table of numbers; save it again") from error

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
        """Train in stages; each ends with the weights of the lowest validation loss, from which the next one starts.

        The weights that a stage starts from compete as training epoch 0: no stage ends with a higher validation loss
        than it started with.

        Stopped at any moment and started again with the same arguments, the training goes on after the last finished
        training epoch and ends with exactly the weights it would have had. An interrupted call leaves this network as
        it was.

        Parameters
        ----------
        training, validation : (spectra, labels) or (spectra, labels, weights)
            Spectra of shape (n, pixels) or (n, pixels, 1), labels of shape (n,) in log10(M_BH / M_Sun), and how much
            each spectrum counts in loss and RMSE, shape (n,) (`dataset.object_weights`). Those of `dataset.stream` are
            read from disk batch by batch. `training` may also be a source that makes its batches itself
            (`augmentation`).
        stages : sequence of architecture.Stage
            Name, learning rate and number of training epochs of each.
        checkpoints : path, optional
            Folder for `<stage>-<fingerprint>-last.h5` and `-best.h5`. The fingerprint covers the network, its weights,
            the data, the stage, batch size, seed and versions: the files of other trainings are not touched.
        batch_size : int
            Spectra per step.
        devices : int
            How many of the backend's accelerators (processors if it has none) share each batch. The losses are those
            of one device but for rounding; Dropout and the like draw other random numbers on TensorFlow.
        choose : bool
            If false, each stage ends with its last weights: for a stage that learns another target than the validation
            labels.
        quiet : bool
            Print nothing.

        Returns
        -------
        DataFrame
            The rows of `history` that belong to this call.

        Raises
        ------
        TableError
            If spectra, labels or weights are empty, not finite, or differ in number.
        ModelError
            If the spectra do not fit the network, the loss is no longer finite, or there are not as many devices.
        LockError
            If another process is at the same training, with the same checkpoints.
        """
        backend.deterministic_keras(self.seed)
        shape = self.model.input_shape[1:]
        if not hasattr(training, "take"):
            training = Arrays(*checked_set(training, shape, "the training set"))
        validation = Arrays(*checked_set(validation, shape, "the validation set"))
        data = [training.digest(), validation.digest()] if checkpoints is not None else None
        options = _Options(batch_size, devices, choose, quiet)
        before = snapshot(self.model), self.model.optimizer
        records, rows = [], []
        try:
            for stage in stages:
                self._compile(stage.learning_rate, stage.average)
                files = None
                if checkpoints is not None:
                    files = Checkpoints(Path(checkpoints), stage, self._fingerprint(stage, options, data))
                with files.alone() if files else contextlib.nullcontext():
                    trained = self._train_stage(stage, training, validation, files, options)
                rows += trained
                kept = next(row for row in trained if row["kept"])
                records.append(
                    {
                        "name": stage.name,
                        "learning_rate": stage.learning_rate,
                        "training_epochs": stage.training_epochs,
                        "kept_training_epoch": kept["training_epoch"],
                        "val_rmse": kept["val_rmse"],
                    }
                )
        except BaseException:
            # Half-trained weights would start another training, to which no checkpoint belongs.
            self._compile(before[1])
            restore(self.model, before[0])
            raise
        self._stages += records
        self._versions = backend.versions()
        trained = _history(rows)
        self.history = pd.concat([self.history, trained], ignore_index=True) if len(self.history) else trained.copy()
        return trained

    def _train_stage(self, stage, training, validation, files: Checkpoints | None, options: _Options) -> list[dict]:
        """Train one stage and leave the model with the weights it keeps; the rows of `history`."""

        def say(text: str) -> None:
            if not options.quiet:
                print(f"{stage.name}  {text}", flush=True)

        keras = backend.import_keras()
        several = MultiDevice(self.model, options.devices, options.batch_size) if options.devices > 1 else None
        to_validate = batches(keras, validation, BIG_BATCH)
        start = snapshot(self.model)
        rows = [_row(stage, 0, _validation_scores(self.model, to_validate))]
        resumed, best = files.resume(self.model, say) if files else ([], None)
        rows += resumed
        width = len(str(stage.training_epochs))

        def shuffled(epoch: int):
            # the order depends on seed, stage and training epoch alone, so that it needs no memory
            name = int.from_bytes(hashlib.sha256(stage.name.encode()).digest()[:8])
            order = np.random.default_rng([self.seed, name, epoch]).permutation(len(training))
            return batches(keras, training, options.batch_size, order, seed=[self.seed, name, epoch])

        for epoch in range(len(rows), stage.training_epochs + 1):
            began = time.monotonic()
            self.model.optimizer.learning_rate = stage.rate(epoch)
            if several is None:
                fitted = self.model.fit(shuffled(epoch), shuffle=False, verbose=0).history
                scores = {key: values[-1] for key, values in fitted.items()}
            else:
                scores = several.fit(shuffled(epoch))
            own = snapshot(self.model)
            if stage.average:
                averaging.use_average(self.model, shuffled(epoch))
            # validated on one device: TensorFlow 2.21's evaluation on several gives another loss now and then
            row = _row(stage, epoch, scores | _validation_scores(self.model, to_validate))
            improved = row["val_loss"] < min((row["val_loss"] for row in rows[1:]), default=np.inf)
            rows.append(row)
            if improved:
                best = snapshot(self.model)
                if files:
                    files.write_best(self.model, rows[1:])
            restore(self.model, own)
            if files:
                files.write_last(self.model, rows[1:])
            say(
                f"training epoch {epoch:{width}}/{stage.training_epochs}  loss {row['loss']:.4f}  validation RMSE "
                f"{row['val_rmse']:.4f} dex  {'(best)' if row is _best(rows) else '':6}  "
                f"{time.monotonic() - began:.1f} s"
            )
        kept = _best(rows) if options.choose else rows[-1]
        epoch = kept["training_epoch"]
        if options.choose:
            restore(self.model, best if epoch else start)
        elif stage.average:
            averaging.use_average(self.model, shuffled(epoch))
        self._compile(stage.learning_rate)  # without the mean, which a file need not carry
        say(
            f"keeps the weights {f'of training epoch {epoch}' if epoch else 'that it started from'}: validation RMSE "
            f"{kept['val_rmse']:.4f} dex"
        )
        return [row | {"kept": row is kept} for row in rows]

    def _compile(self, optimizer, average: float = 0.0) -> None:
        """Compile with loss and metric as objects: Keras refuses to load a file compiled with their names."""
        keras = backend.import_keras()
        if isinstance(optimizer, float):
            # Named, since Keras would number it, and the numbers would enter the files.
            mean = {"use_ema": True, "ema_momentum": average} if average else {}
            optimizer = keras.optimizers.Nadam(learning_rate=optimizer, name="nadam", **mean)
            if average:
                averaging.average(optimizer)
        self.model.compile(
            optimizer=optimizer,
            loss=keras.losses.MeanSquaredError(),
            weighted_metrics=[keras.metrics.RootMeanSquaredError(name="rmse")],
        )
        optimizer.build(self.model.trainable_variables)

    def _fingerprint(self, stage, options: _Options, data: list[str]) -> str:
        """SHA-256 of everything that a stage's training depends on."""
        keras = backend.import_keras()
        start = snapshot(self.model)
        what = {
            "network": self.model.get_config(),
            "stage": [stage.name, stage.learning_rate, stage.training_epochs, stage.cosine, stage.average],
            "batch_size": options.batch_size,
            "seed": self.seed,
            "data": data,
            "start": digest(start["weights"] + start["random"]),
            "versions": [keras.__version__, *backend.name_and_version()],
        } | ({"devices": options.devices} if options.devices > 1 else {})  # several round in another way than one
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
        return self._run(self.model, spectra, batch_size)[0].reshape(-1).astype(np.float64)

    def outputs(self, spectra) -> tuple[np.ndarray, np.ndarray]:
        """The input of the last layer, flat, shape (n, units), and the masses, shape (n,).

        Parameters and errors as of `predict`; ModelError as well if the network is no stack of at least two layers.
        """
        hidden, mass = self._run(self._with_hidden, spectra, SMALL_BATCH)
        return hidden, mass.reshape(-1).astype(np.float64)

    @functools.cached_property
    def _with_hidden(self):
        """The same network with these two outputs."""
        keras, model = backend.import_keras(), self.model
        if not isinstance(model, keras.Sequential) or len(model.layers) < 2:
            raise ModelError("the model", "is no stack of at least two layers; use a keras.Sequential model")
        hidden = model.layers[-1].input
        if len(hidden.shape) > 2:
            hidden = keras.layers.Flatten()(hidden)
        return keras.Model(model.inputs, [hidden, model.outputs[0]])

    @staticmethod
    def _run(model, spectra, batch_size: int) -> list[np.ndarray]:
        """Outputs of a Keras model for all spectra."""
        keras = backend.import_keras()
        spectra = checked_spectra(spectra, model.input_shape[1:], "the spectra")
        model.make_predict_function()  # here: threads that make it at the same time would each trace the network

        def step(batch: np.ndarray) -> list[np.ndarray]:
            outputs = model.predict_on_batch(batch)
            return outputs if isinstance(outputs, list) else [outputs]

        return in_batches(step, spectra, batch_size, parallel=keras.backend.backend() == "tensorflow")

    @property
    def input_shape(self) -> tuple:
        """Of one spectrum."""
        return self.model.input_shape[1:]

    @property
    def weights(self) -> list[np.ndarray]:
        """Of all layers, in Keras's order."""
        return self.model.get_weights()

    def evaluate(self, test: tuple) -> dict:
        """Score the predictions for (spectra, labels), as `evaluation.scores` does."""
        spectra, label = checked_set(test[:2], self.model.input_shape[1:], "the test set")
        return evaluation.scores(label, self.predict(spectra))

    def summary(self) -> pd.DataFrame:
        """List the layers.

        Returns
        -------
        DataFrame
            Index layer; its kind, the shape that it gives for one spectrum, and its number of parameters.
        """
        rows = [
            {
                "kind": type(layer).__name__,
                "output": str(tuple(layer.output.shape[1:])),
                "parameters": layer.count_params(),
            }
            for layer in self.model.layers
        ]
        return pd.DataFrame(rows, index=pd.Index([layer.name for layer in self.model.layers], name="layer"))

    # --- files ----------------------------------------------------------------------------------------------------
    def save(self, path: str | os.PathLike, about: dict | None = None) -> None:
        """Write network, optimizer and description to one `.h5`, which `keras.models.load_model` opens as well.

        Parameters
        ----------
        path : path
            Ends in `.h5`.
        about : dict, optional
            What a user of the file must know (grid, units, label, survey, ...); added to the description in the file
            that this was loaded from. Versions, seed, stages, history, recipe (`architecture.recipe`) and number of
            parameters are added. No time stamps: the same network gives the same bytes.

        Raises
        ------
        ModelError
            If `about` is not JSON or too long, or the path does not end in `.h5`.
        """
        history = self.history.astype(object).where(self.history.notna(), None)
        facts = {key: value for key, value in (self.about or {}).items() if key != "recipe"} | (about or {})
        facts |= {
            "versions": self._versions,
            "seed": self.seed,
            "stages": self._stages,
            "history": history.to_dict("records"),
            "parameters": self.model.count_params(),
        }
        model_file.save(self.model, path, facts | {"recipe": architecture.recipe(facts)})

    @classmethod
    def load(cls, path: str | os.PathLike | ModelFile) -> "EasyAI":
        """Load a network from a file of `save`, or from any Keras `.h5` that takes spectra and gives one number.

        Parameters
        ----------
        path : path or ModelFile
            A file that `model_file.read` has read is not opened again.

        Raises
        ------
        ModelError
            If the file cannot be used.
        """
        # The file is read before TensorFlow is imported: a wrong path fails at once.
        file = path if isinstance(path, ModelFile) else model_file.read(path)
        backend.deterministic_keras((file.about or {}).get("seed", 42))
        model = file.network()
        ann = cls.__new__(cls)
        ann._adopt(model, file.path, (file.about or {}).get("seed", 42), file.about)
        if not model.compiled:
            ann._compile(FIRST_LEARNING_RATE)
        return ann


def _row(stage, epoch: int, scores: dict) -> dict:
    """A row of the history; ModelError where the validation loss is not finite."""
    row = {"stage": stage.name, "training_epoch": epoch}
    row |= {key: float(scores[key]) if key in scores else None for key in SCORES}
    if not np.isfinite(row["val_loss"]):
        raise ModelError(
            f"stage {stage.name}, training epoch {epoch}",
            f"the validation loss is {row['val_loss']}; lower the learning rate or look at the spectra",
        )
    return row


def _best(rows: list[dict]) -> dict:
    return min(rows, key=lambda row: row["val_loss"])


def _validation_scores(model, to_validate) -> dict:
    return {f"val_{key}": value for key, value in model.evaluate(to_validate, verbose=0, return_dict=True).items()}


def _history(rows: list[dict]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(HISTORY)).astype(HISTORY)
