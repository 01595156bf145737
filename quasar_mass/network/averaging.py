"""An exponential mean of a network's weights over the steps of a training; it predicts better than the last weights."""

import numpy as np

from quasar_mass.network import backend

NORMALIZED_SPECTRA = 4096  # spectra, about, from which the statistics of batch normalization are taken


def average(optimizer) -> None:
    """Make a Keras optimizer with ``use_ema`` keep its mean to itself, instead of putting it into the network."""
    optimizer.finalize_variable_values = lambda variables: None


def use_average(model, training) -> None:
    """Put the optimizer's mean of the weights into the network, with its own statistics for batch normalization.

    Those of the single steps belong to other weights: with them the mean predicts badly.

    Parameters
    ----------
    model : keras.Model
        Compiled with an optimizer that keeps the mean (``use_ema``).
    training : Batches
        Of `batches.batches`; the first ones give the statistics.
    """
    keras = backend.import_keras()
    type(model.optimizer).finalize_variable_values(model.optimizer, model.trainable_variables)
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    spectra = [training[n][0] for n in range(min(len(training), -(-NORMALIZED_SPECTRA // training.batch_size)))]
    for layer in layers:  # in order, since each depends on the ones before
        before = keras.Model(model.inputs, layer.input)
        values = [np.asarray(before.predict_on_batch(batch)) for batch in spectra]
        axes = tuple(range(values[0].ndim - 1))
        rows = np.array([np.prod(batch.shape[:-1]) for batch in values], float)
        means = np.average([batch.mean(axis=axes) for batch in values], axis=0, weights=rows)
        squares = np.average([((batch - means) ** 2).mean(axis=axes) for batch in values], axis=0, weights=rows)
        layer.moving_mean.assign(means)
        layer.moving_variance.assign(squares)
