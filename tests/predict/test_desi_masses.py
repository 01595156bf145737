"""One quasar as SDSS and as DESI record it: the same S/N, mass and interval; many of them in bounded memory."""

import numpy as np
import pytest
from desi_files import Target, write_redrock, write_spectra

from quasar_mass.predict.mass_table import predict_files
from quasar_mass.predict.predictor import load
from quasar_mass.simulation import observing, population
from quasar_mass.simulation.quasar.received_flux import received_flux
from quasar_mass.virial.files import measure_files

EXTINCTION = np.array([4.239, 3.303, 2.285, 1.698, 1.263])
SEED = 77


@pytest.fixture(scope="module")
def pairs(tmp_path_factory, make):
    """Simulated quasars without noise, with the same quoted noise per Angstrom, in both formats."""
    folder = tmp_path_factory.mktemp("pairs")
    targets, files = [], []
    for target in population.targets(60, SEED):
        if len(targets) == 6 or target.kind != "main" or not 1.5 < target.z < 1.88:
            continue
        quasar = observing.draw_quasar(SEED, target)
        flux = received_flux(quasar, target.ebv)
        exposure = observing.epoch_exposure(SEED, quasar, target, 0, flux, np.zeros(2))
        spectrum = observing.noiseless_spectrum(exposure, target, target.epochs[0])
        width = spectrum.wavelength * 1e-4 * np.log(10)
        good = spectrum.ivar > 0
        density = np.interp(spectrum.wavelength, spectrum.wavelength[good], (spectrum.ivar / width)[good])
        number = len(targets)
        targets.append(
            Target(
                39633345008634465 + number,
                flux=lambda w, s=spectrum: np.interp(w, s.wavelength, s.flux),
                sigma=lambda w, s=spectrum, d=density: (0.8 * np.interp(w, s.wavelength, d)) ** -0.5,
                ebv=target.ebv,
                redshift=target.z,
            )
        )
        files.append(
            make.spec(
                folder / f"spec-4000-56000-{number:04d}.fits",
                first=int(spectrum.pixel[0]),
                flux=spectrum.flux,
                ivar=density * width,
                and_mask=np.zeros(len(density), int),
                z=target.z,
                extinction=tuple(EXTINCTION * target.ebv),
            )
        )
    write_redrock(folder / "redrock-main-dark-1.fits", targets)
    return files, [write_spectra(folder / "coadd-main-dark-1.fits", targets, noise=0)]


def test_mass_interval_and_signal_to_noise_do_not_depend_on_the_pixels(pairs):
    sdss, desi = (predict_files(files, load(), quiet=True) for files in pairs)
    assert len(sdss) == len(desi) == 6
    np.testing.assert_allclose(desi["SN"], sdss["SN"], rtol=0.05)
    np.testing.assert_allclose(desi["LMBH"], sdss["LMBH"], atol=0.02)
    widths = [(table["LMBH_HIGH"] - table["LMBH_LOW"]).to_numpy() for table in (desi, sdss)]
    np.testing.assert_allclose(widths[0], widths[1], rtol=0.05)
    assert desi["FLAGS"].tolist() == sdss["FLAGS"].tolist()


def test_the_classical_fit_does_not_depend_on_the_pixels(pairs):
    sdss, desi = (measure_files(files, quiet=True) for files in pairs)
    np.testing.assert_allclose(desi["SN"], sdss["SN"], rtol=0.05)
    both = (sdss["LMBH_MgII"].notna() & desi["LMBH_MgII"].notna()).to_numpy()
    assert both.sum() >= 5
    apart = (desi["LMBH_MgII"] - sdss["LMBH_MgII"]).abs()[both]
    assert apart.median() < 0.02
    errors = desi["LMBH_MgII_ERR"] / sdss["LMBH_MgII_ERR"]
    assert errors[both].median() == pytest.approx(1.0, abs=0.05)
