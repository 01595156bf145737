"""Training on several devices: each batch is split among them.

Keras's own tools do it: `keras.distribution` on JAX, `tf.distribute` on TensorFlow. The network itself stays on one
device; a copy on all devices takes its state, is trained for one training epoch, and gives it back. So validation,
checkpoints and saved files do not depend on the devices.
"""

from quasar_mass.core.errors import ModelError
from quasar_mass.network import averaging, backend
from quasar_mass.network.checkpoints import restore, snapshot


class MultiDevice:
    """A copy of a network on several devices.

    Parameters
    ----------
    model : keras.Model
        Compiled.
    count : int
        Of devices: the first of those that the backend offers.
    batch_size : int
        Of the training; a multiple of `count`.

    Raises
    ------
    ModelError
        If there are not as many devices, or a batch cannot be split evenly.
    """

    def __init__(self, model, count: int, batch_size: int) -> None:
        if batch_size % count:
            raise ModelError(
                "the batch size", f"{batch_size} is no multiple of the {count} devices; choose another one"
            )
        keras = backend.import_keras()
        self._model, self._count = model, count
        self._scope = {"jax": _on_jax, "tensorflow": _on_tensorflow}[keras.backend.backend()](count)
        with self._scope():
            self._copy = type(model).from_config(model.get_config())
            for layer in self._copy.layers:
                # TensorFlow would take each device's own mean and variance; on JAX they are the batch's anyway.
                if isinstance(layer, keras.layers.BatchNormalization):
                    layer.synchronized = keras.backend.backend() == "tensorflow"
            self._copy.compile_from_config(model.get_compile_config())
            averaging.average(self._copy.optimizer)  # a mean of the weights stays with the optimizer, as in the network

    def fit(self, training) -> dict:
        """Train the network for one training epoch.

        If the last batch cannot be split evenly, every device gets the whole of it, and each takes the same step, which
        one device would take. Parts of unequal size would weight their spectra unequally.

        Parameters
        ----------
        training : Batches
            Of `batches.batches`.

        Returns
        -------
        dict
            loss and rmse, as `keras.Model.fit` has them.
        """
        copy = self._copy
        whole, last = training.even(self._count)
        parts = []
        with self._scope():
            restore(copy, snapshot(self._model))
            if len(whole):
                fitted = copy.fit(whole, shuffle=False, verbose=0).history
                parts.append((whole.rows, {key: values[-1] for key, values in fitted.items()}))
            if last is not None:
                copy.reset_metrics()  # Keras 3.12 would count the batches above once more
                parts.append((len(last[0]), copy.train_on_batch(*last, return_dict=True)))
            state = snapshot(copy)
        restore(self._model, state)
        rows = sum(n for n, _ in parts)
        loss, square = (sum(n * logs[key] ** power for n, logs in parts) for key, power in (("loss", 1), ("rmse", 2)))
        return {"loss": loss / rows, "rmse": (square / rows) ** 0.5}


def _check_number(names: list[str], count: int) -> None:
    if len(names) < count:
        raise ModelError(
            "the devices", f"there are only {len(names)} ({', '.join(names)}); train with devices={len(names)}"
        )


def _on_jax(count: int):
    """A context in which arrays are on the first devices; batches are split, or copied where they are uneven."""
    keras = backend.import_keras()
    names = keras.distribution.list_devices()
    _check_number(names, count)

    class Even(keras.distribution.DataParallel):
        def get_data_layout(self, data_shape):
            if data_shape[0] % count:
                return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)
            return super().get_data_layout(data_shape)

    return Even(devices=names[:count]).scope


def _on_tensorflow(count: int):
    """A context in which variables are mirrored on the first devices."""
    import tensorflow as tf

    names = [device.name for device in tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")]
    _check_number(names, count)
    # Its default, collective operations, now and then confuses sums when several run at the same time, as with
    # synchronized batch normalization: an error at best, other weights at worst (TensorFlow 2.21).
    return tf.distribute.MirroredStrategy(names[:count], tf.distribute.ReductionToOneDevice()).scope
