"""The network and its two training stages: convolutions that detect emission lines, LSTMs that relate them.

The architecture is the published one. In front of it stand layers that scale, average and compress the input, so that
the saved network takes luminosity densities in the tables' units.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """A part of the training with its own optimizer, which ends with the best weights on the validation set.

    Parameters
    ----------
    name : str
        Names its checkpoints and its lines of output.
    learning_rate : float
        Of the Nadam optimizer, which starts afresh in each stage.
    training_epochs : int
        Passes through the training set.
    cosine : bool
        Whether the learning rate falls from training epoch to training epoch as a cosine does, towards zero.
    average : float
        Momentum of an exponential mean of the weights over the steps, which is validated and kept in their place, with
        statistics of the batch normalization of its own. 0: the weights themselves.
    """

    name: str
    learning_rate: float
    training_epochs: int
    cosine: bool = False
    average: float = 0.0

    def rate(self, epoch: int) -> float:
        """Learning rate of a training epoch, the first of which is 1."""
        if not self.cosine:
            return self.learning_rate
        return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * (epoch - 1) / self.training_epochs))


# Stage one finds the minimum, stage two settles in it: the published run's rates and lengths. A mean of the weights,
# and in stage one a falling rate, make the end of a training depend less on chance.
AVERAGE = 0.995
STAGES = (
    Stage("intermediate", 1e-3, 20, cosine=True, average=AVERAGE),
    Stage("final", 1e-5, 10, average=AVERAGE),
)
PUBLISHED_STAGES = tuple(Stage(stage.name, stage.learning_rate, stage.training_epochs) for stage in STAGES)
BATCH_SIZE = 32  # spectra per step, as published; 128 trains at the same speed per spectrum and fewer steps

# Luminosity density of a typical pixel in the tables' units, (flux / 1e-17 erg/s/cm2/A) (D_L / Mpc)^2 1e-9. Dividing by
# it gives the first convolution numbers near one, which its initial weights are made for.
TYPICAL_LUMINOSITY_DENSITY = 0.4
# The last layer starts at a typical label, log10(M_BH / M_Sun): otherwise the first training epoch climbs from zero.
TYPICAL_MASS = 8.5
# Pixels are averaged first, to 4e-4 dex or 276 km/s: lines are ten times broader, and the noise is halved.
AVERAGE_WIDTH = 4e-4
# The published first convolution in dex, so that it sees the same stretch of spectrum whatever the grid's step: 50 and
# 30 pixels at 1e-4, the published 100 and 60 at 5e-5.
PUBLISHED_KERNEL, PUBLISHED_STRIDE = 5e-3, 3e-3


def recipe(about: dict | None) -> str:
    """Say in words how a network was trained.

    Parameters
    ----------
    about : dict or None
        The description in its model file.

    Returns
    -------
    str
        For example ``"trained on the survey alone in two Nadam stages (1e-3, 1e-5)"``, or ``"unknown"``.
    """
    about = about or {}
    if about.get("recipe"):
        return about["recipe"]
    rates = [stage.get("learning_rate") for stage in about.get("stages") or ()]
    if not rates:
        return "unknown"
    if "pretrained_on" in about:
        return "pre-trained on simulated quasars" + (", then trained on the survey's labels" if rates[1:] else " alone")
    number = {1: "one Nadam stage", 2: "two Nadam stages"}.get(len(rates), f"{len(rates)} Nadam stages")
    return f"trained on the survey alone in {number} ({', '.join(map(_power_of_ten, rates))})"


def _power_of_ten(rate: float) -> str:
    mantissa, exponent = f"{rate:e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def layers(step: float = 1e-4) -> list:
    """Make the layers of the mass network, for an input of shape (grid.size, 1).

    Three convolutions, the middle one with batch normalization, two LSTMs and two dense layers, as published. Beyond
    that: pixels are averaged to 276 km/s, which halves the noise and still resolves every broad line; the scaled flux
    x is compressed to x / (1 + x) - a logistic curve in its logarithm - so that a quasar ten times brighter is not
    ten times louder; and the first convolution has a stride that keeps the lines' profiles (1,100 km/s, not 2,100).

    Parameters
    ----------
    step : float
        The grid's step in dex per pixel.

    Returns
    -------
    list of keras.Layer
        Unbuilt, with fixed names. The output, of shape (n, 1), is log10(M_BH / M_Sun).
    """
    from quasar_mass.network.backend import import_keras  # here: Keras takes seconds, and the constants need none of it

    keras = import_keras()
    k = keras.layers
    return [
        k.Rescaling(scale=1.0 / TYPICAL_LUMINOSITY_DENSITY, name="scale"),
        k.AveragePooling1D(pixels_per_average(step), name="average"),
        k.Activation("softsign", name="compress"),
        k.Conv1D(32, kernel_size=13, strides=4, activation="relu", name="lines"),
        k.Conv1D(64, kernel_size=9, strides=2, activation="relu", name="profiles"),
        k.BatchNormalization(name="normalization"),
        k.Conv1D(128, kernel_size=9, strides=3, activation="relu", name="complexes"),
        *_sequence_to_mass(keras),
    ]


def pixels_per_average(step: float) -> int:
    """How many pixels of a grid's step (dex) the network averages."""
    return max(1, round(AVERAGE_WIDTH / step))


def published_layers(step: float = 1e-4) -> list:
    """Make the published network's layers, for comparison; parameters and result as for `layers`."""
    from quasar_mass.network.backend import import_keras

    keras = import_keras()
    k = keras.layers
    return [
        k.Rescaling(scale=1.0 / TYPICAL_LUMINOSITY_DENSITY, name="scale"),
        k.Conv1D(
            32,
            kernel_size=max(1, round(PUBLISHED_KERNEL / step)),
            strides=max(1, round(PUBLISHED_STRIDE / step)),
            activation="relu",
            name="lines",
        ),
        k.Conv1D(64, kernel_size=25, activation="relu", name="profiles"),
        k.BatchNormalization(name="normalization"),
        k.Conv1D(128, kernel_size=25, strides=5, activation="relu", name="complexes"),
        *_sequence_to_mass(keras),
    ]


def _sequence_to_mass(keras) -> list:
    """The layers from the convolutions' features, ordered by wavelength, to a mass."""
    k = keras.layers
    return [
        k.LSTM(128, return_sequences=True, name="sequence"),
        k.LSTM(128, name="state"),
        k.Dense(128, activation="relu", name="dense"),
        k.Dense(1, bias_initializer=keras.initializers.Constant(TYPICAL_MASS), name="mass"),
    ]
