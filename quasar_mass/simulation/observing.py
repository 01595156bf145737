"""Objects from start to end: draw the quasars, observe their epochs, measure their masses, write their files.

Every object and every epoch has random generators of its own, made from the survey's seed and the object's number: what
is drawn depends neither on other objects and epochs nor on which files exist.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from quasar_mass import virial
from quasar_mass.core.constants import C_KM_S
from quasar_mass.core.files import atomic_write
from quasar_mass.core.survey import BRIGHTSKY, Grid, Survey, format_spec_id
from quasar_mass.simulation import labels
from quasar_mass.simulation.population import OTHER_EPOCH_MEASURED, REDSHIFT_ERROR, Target, true_redshift
from quasar_mass.simulation.quasar import intrinsic
from quasar_mass.simulation.quasar.received_flux import draw_variations, magnitudes, received_flux, variability_factor
from quasar_mass.simulation.spectrograph import recording, spec_file
from quasar_mass.spectra.rest_frame import to_rest_frame
from quasar_mass.spectra.sdss import ebv_from_extinction
from quasar_mass.spectra.spec_lite import Pixels
from quasar_mass.spectra.spectrum import Spectrum, grid_wavelength

# A_u..A_z per E(B-V)_SFD at R_V = 3.1: Schlafly & Finkbeiner 2011 (ApJ 737, 103), table 6.
EXTINCTION = np.array((4.239, 3.303, 2.285, 1.698, 1.263))
LAMBDA_EFF = {False: 4000.0, True: 5400.0}  # Angstrom: quasar targets, and the monitored field (measured)

# Numbers that tell an object's generators apart; population has 2, variability 3.
_EPOCH, _LABEL = 4, 5


@dataclass(frozen=True)
class Record:
    """What the catalogues need of one object.

    Attributes
    ----------
    target : Target
        Its position, redshifts and epochs.
    quasar : Quasar
        Its true properties.
    primary, measured : int
        Which of the epochs is DR16Q's primary one, and on which the masses were measured.
    signal_to_noise : tuple of float
        SN_MEDIAN_ALL of each epoch.
    magnitudes : ndarray
        ugriz, dimmed by the Galaxy.
    label : Label or None
        Its masses, once they are measured.
    """

    target: Target
    quasar: intrinsic.Quasar
    primary: int
    measured: int
    signal_to_noise: tuple
    magnitudes: np.ndarray
    label: labels.Label | None = None


def simulate_targets(survey: Survey, seed: int, targets: Sequence[Target]) -> list[Record]:
    """Simulate some objects and write those of their spectra that are missing: a worker's task.

    Parameters
    ----------
    survey : Survey
        Where to write.
    seed : int
        The survey's. With an object's number it determines all its randomness.
    targets : sequence of Target
    """
    observed = [observe(seed, target) for target in targets]
    for record, observations in observed:
        if record.target.has_files:
            _write_spectra(survey, record, observations)
    measured = label_all(seed, observed)
    return [replace(record, label=label) for (record, _), label in zip(observed, measured, strict=True)]


def draw_quasar(seed: int, target: Target, variety: float = 1.0) -> intrinsic.Quasar:
    """Draw the quasar behind a catalogue entry, at its true redshift; `variety` as in `intrinsic.draw`."""
    rng = np.random.default_rng([seed, target.index])
    quasar = intrinsic.draw(rng, target.z, variety)
    return replace(quasar, redshift=true_redshift(rng, target.z, quasar.wind))


def epoch_exposure(
    seed: int, quasar: intrinsic.Quasar, target: Target, n: int, flux: np.ndarray, change: np.ndarray
) -> recording.Exposure:
    """Expose one epoch of an object: everything but the noise of the pixels.

    Parameters
    ----------
    seed : int
        The survey's.
    quasar : Quasar
        Usually that of `draw_quasar`.
    target : Target
        Its epochs and extinction.
    n : int
        Which of its epochs.
    flux : ndarray
        `received_flux` of the quasar.
    change : ndarray, shape (2,)
        Row n of `draw_variations`.

    Returns
    -------
    Exposure
        Its ``read(epoch_noise(seed, target, n))`` is the survey's observation; with other generators it is the same
        spectrum with other noise.
    """
    plate, mjd, fiberid = target.epochs[n]
    conditions = recording.draw_conditions(seed, plate, mjd, 1 if fiberid <= 500 else 2)
    rng = np.random.default_rng([seed, target.index, _EPOCH, 2 * n + 1])
    varied = flux * variability_factor(change, quasar.redshift)
    return recording.expose(rng, varied, conditions, lambda_eff=LAMBDA_EFF[target.monitored])


def epoch_noise(seed: int, target: Target, n: int) -> np.random.Generator:
    """Give the generator of the noise in the survey's own spectrum of an epoch."""
    return np.random.default_rng([seed, target.index, _EPOCH, 2 * n + 2])


def spectrum_of(observation: recording.Observation, target: Target, epoch: tuple[int, int, int]) -> Spectrum:
    """Give an observation as it would be read back from its file, rounded as in the file.

    Parameters
    ----------
    observation : Observation
        From `Exposure.read`.
    target : Target
    epoch : (plate, mjd, fiberid)
        One of the target's.
    """
    rounded = (values.astype(np.float32).astype(np.float64) for values in (observation.flux, observation.ivar))
    return _spectrum(observation, *rounded, target, epoch)


def noiseless_spectrum(exposure: recording.Exposure, target: Target, epoch: tuple[int, int, int]) -> Spectrum:
    """Give the mean recorded flux of an exposure with its true inverse variance; parameters as in `spectrum_of`."""
    return _spectrum(exposure, exposure.flux, exposure.true_ivar, target, epoch)


def rest_frame_flux_and_noise(
    spectrum: Spectrum, redshift: float, grid: Grid, ebv: float
) -> tuple[np.ndarray, np.ndarray]:
    """Put a noiseless spectrum and the standard deviation of its noise on the rest-frame grid; it may be partial.

    Parameters
    ----------
    spectrum : Spectrum
        From `noiseless_spectrum`.
    redshift : float
    grid : Grid
    ebv : float
        For the correction of Galactic extinction, magnitudes.

    Returns
    -------
    flux, sigma : ndarray of float32, shape (grid.size,)
        In the tables' unit; `sigma` is that of single pixels. NaN where the spectrum has no data.

    Raises
    ------
    SpectrumError
        If the spectrum shows neither Mg II nor C IV with C III].
    """
    deviation = np.zeros_like(spectrum.flux)
    np.divide(1.0, np.sqrt(spectrum.ivar), out=deviation, where=spectrum.ivar > 0)
    both = (spectrum, replace(spectrum, flux=deviation))
    return tuple(to_rest_frame(each, redshift, grid, ebv=ebv, partial=True).flux for each in both)


def _spectrum(
    recorded: Pixels,
    flux: np.ndarray,
    ivar: np.ndarray,
    target: Target,
    epoch: tuple[int, int, int],
) -> Spectrum:
    pixel = recorded.first + np.arange(len(flux))
    return Spectrum(
        wavelength=grid_wavelength(pixel),
        flux=flux,
        ivar=ivar,
        mask=recorded.and_mask & BRIGHTSKY != 0,
        redshift=float(np.float32(target.z)),
        ebv=float(ebv_from_extinction(float(np.float32(EXTINCTION[1] * target.ebv)))),
        spec_id=format_spec_id(*epoch),
        kind="simulated",
        spectral_class="QSO",
        run2d=spec_file.RUN2D,
        pixel=pixel,
    )


def observe(seed: int, target: Target) -> tuple[Record, tuple[recording.Observation, ...]]:
    """Observe all epochs of an object, or only one, for its masses, if it has no files.

    Returns
    -------
    record : Record
        Without a label.
    observations : tuple of Observation
    """
    quasar = draw_quasar(seed, target)
    flux = received_flux(quasar, target.ebv)
    changes = draw_variations(seed, target, quasar.redshift)
    observations = tuple(
        epoch_exposure(seed, quasar, target, n, flux, changes[n]).read(epoch_noise(seed, target, n))
        for n in range(len(target.epochs) if target.has_files else 1)
    )
    signal_to_noise = tuple(observation.signal_to_noise for observation in observations)
    primary = int(np.argmax(signal_to_noise))  # as DR16Q chooses it
    others = [n for n in range(len(observations)) if n != primary]
    rng = np.random.default_rng([seed, target.index, _LABEL, 1])
    measured = int(rng.choice(others)) if others and rng.random() < OTHER_EPOCH_MEASURED else primary
    return Record(target, quasar, primary, measured, signal_to_noise, magnitudes(flux)), observations


def label_all(seed: int, observed: Sequence[tuple[Record, tuple[recording.Observation, ...]]]) -> list[labels.Label]:
    """Measure the masses of some objects from `observe` at once, each on one spectrum."""
    records = [record for record, _ in observed]
    spectra = [
        spectrum_of(observations[record.measured], record.target, record.target.epochs[record.measured])
        for record, observations in observed
    ]
    table = virial.measure(spectra, redshift=[record.target.z for record in records])
    return [
        labels.publish(
            np.random.default_rng([seed, record.target.index, _LABEL, 2]),
            record.quasar,
            masses,
            redshift=record.target.z,
            labelled=record.target.kind != "unlabelled",
        )
        for record, masses in zip(records, labels.trusted_masses(table), strict=True)
    ]


def object_columns(record: Record) -> dict:
    """Columns about an object that DR16Q and HDU 2 of the spec files have in common, by name."""
    target = record.target
    return {
        "RA": target.ra,
        "DEC": target.dec,
        "Z": target.z,
        "ZWARNING": target.zwarning,
        "LAMBDA_EFF": LAMBDA_EFF[target.monitored],
        "THING_ID": 900_000_000 + target.index,
        "EXTINCTION": EXTINCTION * target.ebv,
        "PSFMAG": record.magnitudes,
        "PSFFLUX": 10.0 ** (0.4 * (22.5 - record.magnitudes)),  # nanomaggies
    }


def _write_spectra(survey: Survey, record: Record, observations: Sequence[recording.Observation]) -> None:
    """Write the spectra of an object that are missing or damaged, as they can be after a loss of power."""
    epochs = record.target.epochs
    columns = object_columns(record) | {
        "Z_ERR": REDSHIFT_ERROR / C_KM_S * (1.0 + record.target.z),
        "NSPECOBS": len(epochs),
    }
    for n, (epoch, observation) in enumerate(zip(epochs, observations, strict=True)):
        path = survey.spectrum(*epoch)
        content = spec_file.spec_lite(epoch, observation, columns | {"SPECPRIMARY": record.primary == n})
        if not (path.is_file() and path.read_bytes() == content):
            with atomic_write(path, lasting=False) as temporary:
                temporary.write_bytes(content)
