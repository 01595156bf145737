"""Spec files of a small simulated survey."""

import pytest

from quasar_mass.core.survey import Survey
from quasar_mass.simulation.simulated_survey import simulate


@pytest.fixture(scope="session")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    simulate(Survey(folder), objects=8, seed=3, quiet=True)
    return sorted((folder / "spectra").glob("*/*.fits"))
