"""Objects from start to end: draw the quasars, observe their epochs, measure their masses, write their files.

Every object, and every epoch of it, has generators of its own, made from the survey's seed and its number: what is
drawn depends neither on the other objects and epochs nor on which files are there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from quasar_mass import virial
from quasar_mass.core.constants import C_KM_S
from quasar_mass.core.files import atomic_write
from quasar_mass.core.survey import BRIGHTSKY, Survey, format_spec_id
from quasar_mass.simulation import labels
from quasar_mass.simulation.population import OTHER_EPOCH_MEASURED, REDSHIFT_ERROR, Target, true_redshift
from quasar_mass.simulation.quasar import intrinsic
from quasar_mass.simulation.quasar.received_flux import magnitudes, received_light, variation, variations
from quasar_mass.simulation.spectrograph import recording, spec_file
from quasar_mass.spectra.extinction import ebv_from_extinction
from quasar_mass.spectra.spectrum import Spectrum, grid_wavelength

# A_u..A_z per E(B-V)_SFD at R_V = 3.1: Schlafly & Finkbeiner 2011 (ApJ 737, 103), table 6.
EXTINCTION = np.array((4.239, 3.303, 2.285, 1.698, 1.263))
LAMBDA_EFF = {False: 4000.0, True: 5400.0}  # Angstrom: quasar targets, and the monitored field (measured)

# Numbers that tell an object's generators apart; population has 2, light 3.
_EPOCH, _LABEL = 4, 5


@dataclass(frozen=True)
class Record:
    """What the catalogues say of one object.

    Attributes
    ----------
    target : Target
        Its place, redshifts and epochs.
    quasar : Quasar
        What it truly is.
    label : Label
        Its masses.
    primary, measured : int
        Which of the epochs is DR16Q's primary, and on which the masses were measured.
    signal_to_noise : tuple of float
        SN_MEDIAN_ALL of each epoch.
    magnitudes : ndarray
        ugriz, dimmed by the Galaxy.
    """

    target: Target
    quasar: intrinsic.Quasar
    label: labels.Label
    primary: int
    measured: int
    signal_to_noise: tuple
    magnitudes: np.ndarray


def simulate_targets(survey: Survey, seed: int, targets: Sequence[Target]) -> list[Record]:
    """Simulate some objects and write their spectra, keeping files that are there; what a worker is given at a time.

    Parameters
    ----------
    survey : Survey
        Where to.
    seed : int
        The survey's: with an object's number, all its randomness, so that the bytes depend on nothing else.
    targets : sequence of Target
        Which.
    """
    observed = [_observe(seed, target) for target in targets]
    records = []
    for one, label in zip(observed, _label_all(seed, observed), strict=True):
        if one.target.has_files:
            _write(survey, one)
        quality = tuple(observation.signal_to_noise for observation in one.observations)
        records.append(Record(one.target, one.quasar, label, one.primary, one.measured, quality, one.magnitudes))
    return records


def simulate_target(survey: Survey, seed: int, target: Target) -> Record:
    """Simulate one object; parameters as of `simulate_targets`."""
    return simulate_targets(survey, seed, [target])[0]


def draw_quasar(seed: int, target: Target, variety: float = 1.0) -> intrinsic.Quasar:
    """Draw the quasar behind a catalogue's entry, at its true redshift; `variety` as of `intrinsic.draw`."""
    rng = np.random.default_rng([seed, target.index])
    quasar = intrinsic.draw(rng, target.z, variety)
    return replace(quasar, redshift=true_redshift(rng, target.z, quasar.wind))


def epoch_exposure(
    seed: int,
    quasar: intrinsic.Quasar,
    target: Target,
    n: int,
    *,
    light: np.ndarray | None = None,
    change: np.ndarray | None = None,
) -> recording.Exposure:
    """Expose one epoch of an object: from the quasar to all but the noise of the pixels.

    Parameters
    ----------
    seed : int
        The survey's.
    quasar : Quasar
        Usually that of `draw_quasar`.
    target : Target
        Its place on the plates, extinction and epochs.
    n : int
        Which of its epochs.
    light : ndarray, optional
        `received_light` of the quasar, where it is known already.
    change : ndarray of shape (2,), optional
        Row n of `variations`, where they are known already.

    Returns
    -------
    Exposure
        Its ``read(epoch_noise(seed, target, n))`` is the survey's observation; with other generators it is the same
        spectrum with other noise.
    """
    if light is None:
        light = received_light(quasar, target.ebv)
    if change is None:
        change = variations(seed, target, quasar.redshift)[n]
    plate, mjd, fiberid = target.epochs[n]
    where = recording.conditions(seed, plate, mjd, 1 if fiberid <= 500 else 2)
    rng = np.random.default_rng([seed, target.index, _EPOCH, 2 * n + 1])
    varied = light * variation(change, quasar.redshift)
    return recording.expose(rng, varied, where, lambda_eff=LAMBDA_EFF[target.monitored])


def epoch_noise(seed: int, target: Target, n: int) -> np.random.Generator:
    """Give the generator of the noise that the survey's own spectrum of an epoch has."""
    return np.random.default_rng([seed, target.index, _EPOCH, 2 * n + 2])


def library_exposure(seed: int, target: Target) -> tuple[intrinsic.Quasar, recording.Exposure, Spectrum]:
    """Expose the first epoch of an object of more than usual variety, for a library whose noise is drawn later.

    Returns
    -------
    quasar : Quasar
        Behind it.
    exposure : Exposure
        Of its first epoch.
    spectrum : Spectrum
        The same without noise: its flux is the exposure's light, its ivar the true one, 0 in lost pixels.
    """
    quasar = draw_quasar(seed, target, intrinsic.VARIED)
    exposure = epoch_exposure(seed, quasar, target, 0)
    told = np.where(exposure.ivar > 0.0, 1.0 / exposure.variance, 0.0)
    return quasar, exposure, _spectrum(exposure, exposure.light, told, target, target.epochs[0], target.ebv)


def spectrum_of(
    observation: recording.Observation, target: Target, epoch: tuple[int, int, int], ebv: float | None = None
) -> Spectrum:
    """Give an observation as it would be read back from its file, rounded as the file rounds it.

    Parameters
    ----------
    observation : Observation
        From `Exposure.read`.
    target : Target
        Of which it is.
    epoch : (plate, mjd, fiberid)
        Of the spectrum.
    ebv : float, optional
        E(B-V) of Schlegel, Finkbeiner & Davis 1998; that of the target if left out.
    """
    rounded = (values.astype(np.float32).astype(np.float64) for values in (observation.flux, observation.ivar))
    return _spectrum(observation, *rounded, target, epoch, target.ebv if ebv is None else ebv)


def _spectrum(
    recorded: recording.Observation | recording.Exposure,
    flux: np.ndarray,
    ivar: np.ndarray,
    target: Target,
    epoch: tuple[int, int, int],
    ebv: float,
) -> Spectrum:
    pixel = recorded.first + np.arange(len(flux))
    return Spectrum(
        wavelength=grid_wavelength(pixel),
        flux=flux,
        ivar=ivar,
        mask=recorded.and_mask & BRIGHTSKY != 0,
        redshift=float(np.float32(target.z)),
        ebv=float(ebv_from_extinction(float(np.float32(EXTINCTION[1] * ebv)))),
        spec_id=format_spec_id(*epoch),
        kind="simulated",
        spectral_class="QSO",
        run2d=spec_file.RUN2D,
        pixel=pixel,
    )


def thing_id(target: Target) -> int:
    """Give a number for THING_ID that no two objects share."""
    return 900_000_000 + target.index


@dataclass(frozen=True)
class _Observed:
    """An object after its observation, before its masses are measured; attributes as of `Record`."""

    target: Target
    quasar: intrinsic.Quasar
    observations: tuple[recording.Observation, ...]
    primary: int
    measured: int
    magnitudes: np.ndarray


def _observe(seed: int, target: Target) -> _Observed:
    """Observe all epochs of an object; one alone, for its masses, if it has no files."""
    quasar = draw_quasar(seed, target)
    light = received_light(quasar, target.ebv)
    changes = variations(seed, target, quasar.redshift)
    observations = tuple(
        epoch_exposure(seed, quasar, target, n, light=light, change=changes[n]).read(epoch_noise(seed, target, n))
        for n in range(len(target.epochs) if target.has_files else 1)
    )
    primary = int(np.argmax([observation.signal_to_noise for observation in observations]))  # as DR16Q chooses it
    others = [n for n in range(len(observations)) if n != primary]
    rng = np.random.default_rng([seed, target.index, _LABEL, 1])
    measured = int(rng.choice(others)) if others and rng.random() < OTHER_EPOCH_MEASURED else primary
    return _Observed(target, quasar, observations, primary, measured, magnitudes(light))


def _label_all(seed: int, observed: Sequence[_Observed]) -> list[labels.Label]:
    """Measure the masses of some objects at once, each on one spectrum."""
    spectra = [
        spectrum_of(one.observations[one.measured], one.target, one.target.epochs[one.measured]) for one in observed
    ]
    table = virial.measure(spectra, [one.target.z for one in observed], [spectrum.ebv for spectrum in spectra])
    return [
        labels.publish(
            np.random.default_rng([seed, one.target.index, _LABEL, 2]),
            one.quasar,
            masses,
            redshift=one.target.z,
            labelled=one.target.kind != "unlabelled",
        )
        for one, masses in zip(observed, labels.trusted(table), strict=True)
    ]


def _write(survey: Survey, one: _Observed) -> None:
    """Write the spectra of an object that are not there yet, or not as they should be: a loss of power can do that."""
    for n, (epoch, observation) in enumerate(zip(one.target.epochs, one.observations, strict=True)):
        path = survey.spectrum(*epoch)
        content = spec_file.spec_lite(epoch, observation, _row(one.target, one.magnitudes, one.primary == n))
        if not (path.is_file() and path.read_bytes() == content):
            with atomic_write(path, lasting=False) as temporary:
                temporary.write_bytes(content)


def _row(target: Target, magnitudes: np.ndarray, primary: bool) -> dict:
    """Say what HDU 2 of each of the object's files does of the object."""
    flux = 10.0 ** (0.4 * (22.5 - magnitudes))  # nanomaggies
    return {
        "RA": target.ra,
        "DEC": target.dec,
        "Z": target.z,
        "Z_ERR": REDSHIFT_ERROR / C_KM_S * (1.0 + target.z),
        "ZWARNING": target.zwarning,
        "LAMBDA_EFF": LAMBDA_EFF[target.monitored],
        "THING_ID": thing_id(target),
        "NSPECOBS": len(target.epochs),
        "SPECPRIMARY": primary,
        "EXTINCTION": EXTINCTION * target.ebv,
        "PSFMAG": magnitudes,
        "PSFFLUX": flux,
    }
