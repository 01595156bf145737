"""Nothing of a spectrum is kept once its mass is known: what grows by a spectrum each time ends a long run."""

import gc
import weakref

import golden_sample

from quasar_mass.predict.inputs import SHIPPED_MODEL
from quasar_mass.predict.predictor import Predictor
from quasar_mass.tables import survey_tables


def test_nothing_of_a_spectrum_is_kept_once_its_mass_is_known():
    quoter = Predictor.load(SHIPPED_MODEL)
    frame, flux = next(survey_tables.iterate_spectra(golden_sample.SPECTRA))
    flux = flux.copy()
    kept = weakref.ref(flux)
    quoter.view(flux, frame["Z"].to_numpy(), frame["SN"].to_numpy(float))
    quoter.ensemble.first.predict(flux)
    del flux
    gc.collect()
    assert kept() is None
