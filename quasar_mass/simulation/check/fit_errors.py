"""The errors that the line fit quotes, against the truth of simulated quasars at a chosen signal-to-noise.

The quasars have everything that the fit's templates lack: other iron, other profiles, narrow lines, absorption, dust,
redshift errors. Left out are their variability and the errors of the flux calibration, which no fit of one spectrum can
know: they scatter the luminosities of a simulated survey around its true, mean ones by another 0.1 dex.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from quasar_mass import virial
from quasar_mass.core.survey import WINDOW
from quasar_mass.simulation import observing, population
from quasar_mass.simulation.quasar.received_flux import received_flux
from quasar_mass.simulation.spectrograph import sky
from quasar_mass.spectra.spectrum import Spectrum

FIRST_SEED = 4_000_037  # added to a seed: these quasars are in no survey and in no library
SIGNAL_TO_NOISE = (3.0, 5.0, 8.0, 15.0, 30.0)  # median per pixel, as `virial.measure` gives it
QUANTITIES = ("FWHM_MgII", "FWHM_CIV", "LOG_L1350", "LOG_L3000", "LMBH_MgII", "LMBH_CIV")
MAX_PULL = 5.0  # the rms is that of the pulls within it


def quasars(number: int, seed: int = 1) -> tuple[list[Spectrum], pd.DataFrame]:
    """Simulate quasars at 1.46 < z < 1.80.

    Parameters
    ----------
    number : int
    seed : int

    Returns
    -------
    spectra : list of Spectrum
        Without noise, with the inverse variance of one night.
    truth : DataFrame
        The true values of `QUANTITIES`.
    """
    seed = FIRST_SEED + seed
    spectra, truth = [], []
    for target in population.targets(number, seed)[:number]:  # those of the main kind come first
        quasar = observing.draw_quasar(seed, target)
        received = received_flux(quasar, target.ebv)
        exposure = observing.epoch_exposure(seed, quasar, target, 0, received, np.zeros(2))
        first = exposure.first - sky.FIRST_PIXEL
        flux = sky.blur(received, 1.0)[first : first + len(exposure.flux)]  # without calibration errors
        spectra.append(observing.noiseless_spectrum(replace(exposure, flux=flux), target, target.epochs[0]))
        luminosities = {"LOG_L1350": quasar.log_l1350, "LOG_L3000": quasar.log_l3000}
        masses = {
            line: float(virial.mass(line, luminosity, quasar.fwhm[line]))
            for line, luminosity in (("MgII", quasar.log_l3000), ("CIV", quasar.log_l1350))
        }
        truth.append(
            {f"FWHM_{line}": quasar.fwhm[line] for line in masses}
            | luminosities
            | {f"LMBH_{line}": mass for line, mass in masses.items()}
        )
    return spectra, pd.DataFrame(truth)


def with_noise(spectrum: Spectrum, signal_to_noise: float, rng: np.random.Generator) -> Spectrum:
    """Scale the noise of a noiseless spectrum to a median signal-to-noise per pixel, and add it."""
    good = spectrum.good
    rest = np.log10(spectrum.wavelength) - np.log10(1.0 + spectrum.redshift)
    window = good & (rest >= WINDOW[0]) & (rest <= WINDOW[1])
    scale = signal_to_noise / np.median(spectrum.flux[window] * np.sqrt(spectrum.ivar[window]))
    ivar = scale**2 * spectrum.ivar
    noise = np.zeros_like(ivar)
    noise[good] = rng.standard_normal(good.sum()) / np.sqrt(ivar[good])
    return replace(spectrum, flux=spectrum.flux + noise, ivar=ivar)


def pulls(spectra: Sequence[Spectrum], truth: pd.DataFrame) -> pd.DataFrame:
    """Fit spectra and give (measured - true) / quoted error of `QUANTITIES`; NaN where nothing was measured."""
    table = virial.measure(spectra)
    return pd.DataFrame({name: (table[name] - truth[name]) / table[f"{name}_ERR"] for name in QUANTITIES})


def summarise(pulls: pd.DataFrame) -> pd.DataFrame:
    """Give the robust rms and the rms within `MAX_PULL` of the pulls of each quantity; both are 1 if all is well."""
    size = pulls.abs()
    return pd.DataFrame({"robust": 1.4826 * size.median(), "rms": ((size[size < MAX_PULL]) ** 2).mean() ** 0.5})


def text(number: int = 200, seed: int = 1) -> str:
    """Simulate and fit quasars, and print both numbers of `summarise` by signal-to-noise."""
    spectra, truth = quasars(number, seed)
    rows = {}
    for level in SIGNAL_TO_NOISE:
        rng = np.random.default_rng([seed, round(10 * level)])
        summary = summarise(pulls([with_noise(spectrum, level, rng) for spectrum in spectra], truth))
        rows[f"{level:g}"] = [f"{robust:.2f} {rms:.2f}" for robust, rms in summary.to_numpy()]
    table = pd.DataFrame(rows, index=QUANTITIES).T.rename_axis("S/N")
    return (
        f"virial: (measured - true) / error of {number} simulated quasars by S/N per pixel: robust rms (1.4826 times"
        f"\nthe median size), and rms of those within {MAX_PULL:g}\n{table.reset_index().to_string(index=False)}"
    )
