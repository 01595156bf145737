"""Which parts of a spectrum move a predicted mass, and how masses follow line width and luminosity.

Integrated gradients (Sundararajan, Taly & Yan 2017, ICML 70): the gradient of the mass with respect to every pixel,
averaged along the straight line from a baseline to the spectrum, times the difference of the pixel from the baseline.
The sum over all pixels is the difference of the two masses, so every pixel's part is in dex. The baseline of a spectrum
is the typical shape of many, scaled to the spectrum's own median: this explains why the quasar's mass differs from that
of a typical quasar as bright.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from quasar_mass.core.errors import ModelError
from quasar_mass.core.files import progress
from quasar_mass.core.survey import Grid
from quasar_mass.network import backend
from quasar_mass.network.easyai import EasyAI
from quasar_mass.network.inference import checked_spectra
from quasar_mass.predict.predictor import Predictor
from quasar_mass.spectra.network_input import MISSING
from quasar_mass.spectra.rest_frame import median

STEPS = 32  # from the baseline to the spectrum: the sum then agrees to some per cent
GROUP = 1.6e-3  # dex: parts are summed over 1,100 km/s before their sizes are compared, or noise would count as size
BATCH = 64  # spectra at a time
# Parts of the spectrum, Angstrom: lines with their wings, iron where nothing else stands, and the rest.
REGIONS = {
    "C IV": ((1500.0, 1600.0),),
    "C III]": ((1830.0, 1980.0),),
    "Mg II": ((2710.0, 2890.0),),
    "Fe II": ((2100.0, 2300.0), (2360.0, 2710.0), (2890.0, 3050.0), (3100.0, 3390.0)),
    "continuum and other lines": (),
}


@dataclass(frozen=True)
class Attributions:
    """Each pixel's part in the masses of spectra.

    Attributes
    ----------
    parts : ndarray, shape (n, pixels)
        dex; they add up to `mass` minus `baseline_mass`, the closer the more steps were taken.
    mass, baseline_mass : ndarray, shape (n,)
        log10(M_BH / M_Sun) of the spectra and of their baselines.
    """

    parts: np.ndarray
    mass: np.ndarray
    baseline_mass: np.ndarray


def typical_shape(flux: np.ndarray) -> np.ndarray:
    """Median of many spectra, each over its own median; shape (pixels,). What is missing in a spectrum is left out."""
    seen = np.where(flux == MISSING, np.nan, flux)
    middle = median(seen)[:, np.newaxis]
    shape = median((seen / np.where(middle > 0, middle, 1.0)).T)
    return np.nan_to_num(shape, nan=MISSING)  # of a pixel that no spectrum has, the median is NaN


def integrated_gradients(
    model: EasyAI, flux: np.ndarray, shape: np.ndarray, *, steps: int = STEPS, quiet: bool = True
) -> Attributions:
    """Attribute the masses of spectra to their pixels.

    Parameters
    ----------
    model : EasyAI
    flux : ndarray, shape (n, pixels)
        What the network takes (`spectra.network_input`); what is missing in a spectrum is missing in its baseline.
    shape : ndarray, shape (pixels,)
        `typical_shape` of many spectra.
    steps : int
        From the baseline to the spectrum.
    quiet : bool
        No progress bar.

    Raises
    ------
    ModelError
        If Keras does not run on TensorFlow, which takes the gradients.
    """
    keras = backend.import_keras()
    if keras.backend.backend() != "tensorflow":
        raise ModelError(
            f"KERAS_BACKEND={keras.backend.backend()}", "cannot explain masses; set KERAS_BACKEND=tensorflow"
        )
    import tensorflow as tf

    flux = checked_spectra(flux, model.model.input_shape[1:], "the spectra")[..., 0]
    seen = np.where(flux == MISSING, np.nan, flux)
    baseline = np.nan_to_num(np.nanmedian(seen, axis=1, keepdims=True) * shape).astype(np.float32)
    baseline[flux == MISSING] = MISSING

    @tf.function
    def gradient(spectra):
        with tf.GradientTape() as tape:
            tape.watch(spectra)
            mass = model.model(spectra, training=False)
        return tape.gradient(mass, spectra)

    total = np.zeros(flux.shape)
    for step in progress(range(steps), total=steps, what="attribution", unit="steps", quiet=quiet):
        fraction = np.float32((step + 0.5) / steps)  # midpoints
        between = baseline + fraction * (flux - baseline)
        for start in range(0, len(flux), BATCH):
            rows = slice(start, start + BATCH)
            total[rows] += gradient(tf.constant(between[rows][..., None])).numpy()[..., 0]
    parts = total / steps * (flux - baseline)
    return Attributions(parts, model.predict(flux), model.predict(baseline))


def grouped(parts: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Sum parts over `GROUP`; rest wavelengths (bins,) in Angstrom and parts (n, bins)."""
    width = max(1, round(GROUP / grid.step))
    bins = grid.size // width
    log_wavelength = grid.log_wavelength[: bins * width].reshape(bins, width).mean(axis=1)
    return 10.0**log_wavelength, parts[:, : bins * width].reshape(len(parts), bins, width).sum(axis=2)


def fractions(attributions: Attributions, grid: Grid) -> pd.DataFrame:
    """Divide the attribution among the lines, iron and the continuum.

    Returns
    -------
    DataFrame
        Index region; ``fraction``, the sum of sizes over the region's bins relative to that over all bins, averaged
        over spectra; ``error``, the standard error of this mean; ``fraction of the window``, the region's part of the
        log wavelengths, which would also be the fraction of a network that weighted all wavelengths alike.
    """
    wavelength, parts = grouped(attributions.parts, grid)
    size = np.abs(parts)
    size = size / np.maximum(size.sum(axis=1, keepdims=True), 1e-12)
    free = np.ones(len(wavelength), bool)
    rows = {}
    for name, windows in REGIONS.items():
        inside = np.zeros(len(wavelength), bool)
        for low, high in windows:
            inside |= (wavelength >= low) & (wavelength < high)
        inside = inside & free if windows else free
        free = free & ~inside
        fraction = size[:, inside].sum(axis=1)
        error = fraction.std(ddof=1) / np.sqrt(len(fraction)) if len(fraction) > 1 else np.nan
        rows[name] = {"fraction": fraction.mean(), "error": error, "fraction of the window": inside.mean()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("region")


# --- how masses follow width and luminosity ---------------------------------------------------------------------------
WIDTHS = (-0.12, -0.06, 0.0, 0.06, 0.12)  # log10 of the factor on the Mg II width
LUMINOSITIES = (-0.3, -0.15, 0.0, 0.15, 0.3)  # log10 of the factor on the luminosity
NOISES = {"no noise": 0.0, "survey's noise": 1.0}
PROBES = 100  # quasars


def slopes(predictor: Predictor, *, number: int = PROBES, seed: int = 1, quiet: bool = True) -> pd.DataFrame:
    """Change one property alone in simulated quasars, and measure how the predicted mass follows.

    The virial relation asks for a slope of 1 with 2 log FWHM (Mg II) and of 0.5 with log L.

    Parameters
    ----------
    predictor : Predictor
    number : int
        Quasars, each changed in `WIDTHS` and `LUMINOSITIES`.
    seed : int
    quiet : bool
        No progress bar.

    Returns
    -------
    DataFrame
        Index (``what``, ``noise``): ``slope``, the mean over quasars; ``error``, its standard error; ``expected``.
    """
    from quasar_mass.simulation import probes  # not at the top: a model of real data needs no simulation

    rows, grid = {}, predictor.grid
    rng = np.random.default_rng(seed)
    properties = (("2 log FWHM (Mg II)", WIDTHS, 1.0), ("log L", LUMINOSITIES, 0.5))
    for what, steps, expected in progress(properties, total=2, what="slopes", unit="properties", quiet=quiet):
        change = "width" if expected == 1.0 else "luminosity"
        noiseless, sigma, redshift = probes.series(number, change, steps, grid, seed)
        x = np.array(steps) * (2.0 if change == "width" else 1.0)
        for noise, factor in NOISES.items():
            # the same noise on all versions of a quasar: what differs is what was changed
            drawn = rng.standard_normal((len(noiseless), 1, grid.size), dtype=np.float32)
            flux = (noiseless + np.float32(factor) * sigma * drawn).reshape(-1, grid.size)
            mass = predictor.outputs(flux, np.repeat(redshift, len(steps))).mass.reshape(len(noiseless), len(steps))
            each = (mass - mass.mean(axis=1, keepdims=True)) @ (x - x.mean()) / np.sum((x - x.mean()) ** 2)
            error = float(each.std(ddof=1) / np.sqrt(len(each))) if len(each) > 1 else np.nan
            rows[what, noise] = {"slope": float(each.mean()), "error": error, "expected": expected}
    index = pd.MultiIndex.from_tuples(list(rows), names=["what", "noise"])
    return pd.DataFrame(list(rows.values()), index=index)


def summary(title: str, fractions: pd.DataFrame, slopes: pd.DataFrame) -> str:
    """Print the tables of `fractions` and `slopes`; the second may be empty."""
    lines = [f"what moves the predicted masses: {title}", fractions.to_string(float_format="{:.3f}".format, na_rep="-")]
    if len(slopes):
        lines += ["", "how the predicted mass follows one property alone, in simulated quasars"]
        lines.append(slopes.to_string(float_format="{:.3f}".format, na_rep="-"))
    return "\n".join(lines)
