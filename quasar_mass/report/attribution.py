"""What a network looks at: each wavelength's share in a predicted mass, and how masses follow width and luminosity.

Integrated gradients (Sundararajan, Taly & Yan 2017, ICML 70): the gradient of the mass with respect to every pixel,
averaged along the straight way from a baseline to the spectrum, times how far the pixel is from the baseline. The sum
over all pixels is the difference of the two masses, so every pixel's part is in dex. The baseline of a spectrum is the
typical shape of many, scaled to the spectrum's own median: what is explained is why this quasar's mass is not that of a
typical quasar as bright.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from quasar_mass.core.errors import ModelError
from quasar_mass.core.survey import Grid
from quasar_mass.network import backend
from quasar_mass.network.easyai import EasyAI

STEPS = 32  # of the way from the baseline: the sum then agrees to some per cent
GROUP = 1.6e-3  # dex: parts are summed over 1,100 km/s before their sizes are compared, or noise would count as size
AT_ONCE = 64  # spectra on their way at a time
# Parts of the spectrum, Angstrom: lines with their wings, iron where nothing else stands, and the rest.
REGIONS = {
    "C IV": ((1500.0, 1600.0),),
    "C III]": ((1830.0, 1980.0),),
    "Mg II": ((2710.0, 2890.0),),
    "Fe II": ((2100.0, 2300.0), (2360.0, 2710.0), (2890.0, 3050.0), (3100.0, 3390.0)),
    "continuum and other lines": (),
}


@dataclass(frozen=True)
class Reasons:
    """Each pixel's part in the masses of spectra.

    Attributes
    ----------
    parts : ndarray, shape (n, pixels)
        dex; they add up to `mass` minus `baseline_mass`, but for `STEPS`.
    mass, baseline_mass : ndarray, shape (n,)
        log10(M_BH / M_Sun) of the spectra and of their baselines.
    """

    parts: np.ndarray
    mass: np.ndarray
    baseline_mass: np.ndarray


def typical_shape(flux: np.ndarray) -> np.ndarray:
    """Median of many spectra, each over its own median; shape (pixels,)."""
    middle = np.median(flux, axis=1, keepdims=True)
    return np.median(flux / np.where(middle > 0, middle, 1.0), axis=0)


def integrated_gradients(model: EasyAI, flux: np.ndarray, shape: np.ndarray) -> Reasons:
    """Explain the masses of spectra.

    Parameters
    ----------
    model : EasyAI
    flux : ndarray, shape (n, pixels)
        In the tables' unit.
    shape : ndarray, shape (pixels,)
        `typical_shape` of many spectra.

    Raises
    ------
    ModelError
        If Keras does not run on TensorFlow, which takes the gradients.
    """
    keras = backend.import_keras()
    if keras.backend.backend() != "tensorflow":
        raise ModelError(
            "the back end",
            expected="tensorflow, which takes the gradients",
            got=keras.backend.backend(),
            do="set KERAS_BACKEND=tensorflow",
        )
    import tensorflow as tf

    flux = model.checked(flux)[..., 0]
    baseline = (np.median(flux, axis=1, keepdims=True) * shape).astype(np.float32)

    @tf.function
    def gradient(spectra):
        with tf.GradientTape() as tape:
            tape.watch(spectra)
            mass = model.model(spectra, training=False)
        return tape.gradient(mass, spectra)

    total = np.zeros(flux.shape)
    for step in range(STEPS):
        share = np.float32((step + 0.5) / STEPS)  # midpoints
        way = baseline + share * (flux - baseline)
        for start in range(0, len(flux), AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            total[rows] += gradient(tf.constant(way[rows][..., None])).numpy()[..., 0]
    parts = total / STEPS * (flux - baseline)
    return Reasons(parts, model.predict(flux), model.predict(baseline))


def grouped(parts: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Sum parts over `GROUP`; rest wavelengths (bins,) in Angstrom and parts (n, bins)."""
    width = max(1, round(GROUP / grid.step))
    bins = grid.size // width
    log_wavelength = grid.log_wavelength[: bins * width].reshape(bins, width).mean(axis=1)
    return 10.0**log_wavelength, parts[:, : bins * width].reshape(len(parts), bins, width).sum(axis=2)


def shares(reasons: Reasons, grid: Grid) -> pd.DataFrame:
    """Divide the attribution among the lines, iron and the continuum.

    Returns
    -------
    DataFrame
        Index region; ``share``, of the sum of sizes over the region's bins, averaged over spectra; ``share_of_window``,
        how much of the wavelengths (in log) the region takes, which is what a network that looked everywhere alike
        would have; ``error``, the standard error of the mean share.
    """
    wavelength, parts = grouped(reasons.parts, grid)
    size = np.abs(parts)
    size = size / np.maximum(size.sum(axis=1, keepdims=True), 1e-12)
    left = np.ones(len(wavelength), bool)
    rows = {}
    for name, windows in REGIONS.items():
        inside = np.zeros(len(wavelength), bool)
        for low, high in windows:
            inside |= (wavelength >= low) & (wavelength < high)
        inside = inside & left if windows else left
        left = left & ~inside
        share = size[:, inside].sum(axis=1)
        error = share.std(ddof=1) / np.sqrt(len(share)) if len(share) > 1 else np.nan
        rows[name] = {"share": share.mean(), "error": error, "share_of_window": inside.mean()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("region")


# --- how masses follow width and luminosity ---------------------------------------------------------------------------
WIDTHS = (-0.12, -0.06, 0.0, 0.06, 0.12)  # log10 of the factor on the Mg II width
LIGHTS = (-0.3, -0.15, 0.0, 0.15, 0.3)  # log10 of the factor on the luminosity
NOISES = {"no noise": 0.0, "survey's noise": 1.0}
PROBES = 100  # quasars


def slopes(model: EasyAI, grid: Grid, *, number: int = PROBES, seed: int = 1) -> pd.DataFrame:
    """Change one thing alone in simulated quasars, and see how the predicted mass follows.

    The virial relation asks for a slope of 1 with 2 log FWHM (Mg II) and of 0.5 with log L.

    Parameters
    ----------
    model : EasyAI
    grid : Grid
    number : int
        Quasars, each changed in `WIDTHS` and `LIGHTS`.
    seed : int

    Returns
    -------
    DataFrame
        Index (``what``, ``noise``): ``slope``, the mean over quasars; ``error``, its standard error; ``expected``.
    """
    from quasar_mass.simulation import probes  # not at the top: a model of the sky needs no simulation

    rows = {}
    rng = np.random.default_rng(seed)
    for what, steps, expected in (("2 log FWHM (Mg II)", WIDTHS, 1.0), ("log L", LIGHTS, 0.5)):
        change = "width" if expected == 1.0 else "light"
        light, sigma = probes.series(number, change, steps, grid, seed)
        x = np.array(steps) * (2.0 if change == "width" else 1.0)
        for noise, factor in NOISES.items():
            # the same noise on all versions of a quasar: what differs is what was changed
            drawn = rng.standard_normal((len(light), 1, grid.size), dtype=np.float32)
            flux = (light + np.float32(factor) * sigma * drawn).reshape(-1, grid.size)
            mass = model.predict(flux).reshape(len(light), len(steps))
            each = (mass - mass.mean(axis=1, keepdims=True)) @ (x - x.mean()) / np.sum((x - x.mean()) ** 2)
            error = float(each.std(ddof=1) / np.sqrt(len(each))) if len(each) > 1 else np.nan
            rows[what, noise] = {"slope": float(each.mean()), "error": error, "expected": expected}
    index = pd.MultiIndex.from_tuples(list(rows), names=["what", "noise"])
    return pd.DataFrame(list(rows.values()), index=index)


def summary(table: pd.DataFrame, found: pd.DataFrame, about: Mapping) -> str:
    """Say both tables for a person; `about` names the model's and the survey's kind."""
    text = [
        f"what the network looks at: {about['spectra']:,} spectra ({about['kind']}); model trained on "
        f"{about['model_kind']} ones",
        table.to_string(float_format=lambda value: f"{value:.3f}"),
    ]
    if len(found):
        text += [
            "",
            "how the predicted mass follows one thing alone, in simulated quasars",
            found.to_string(float_format=lambda value: f"{value:.3f}"),
        ]
    return "\n".join(text)
