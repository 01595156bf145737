"""Which of the measured masses a simulated table contains, and the true values behind them."""

import numpy as np
import pandas as pd
import pytest

from quasar_mass import virial
from quasar_mass.simulation import labels
from quasar_mass.simulation.quasar import intrinsic

MEASURED = {"MgII": 8.604, "CIV": 8.396}
NO_MASSES = {"Hb": 0.0, "Ha": 0.0, "MgII": 0.0, "CIV": 0.0}


@pytest.fixture(scope="module")
def quasar():
    return intrinsic.draw(np.random.default_rng(1), 1.7)


def publish(quasar, seed=1, measured=MEASURED, **options):
    return labels.publish(np.random.default_rng(seed), quasar, measured, **{"redshift": 1.7} | options)


def test_masses_are_the_measured_ones_as_the_table_rounds_them(quasar):
    drawn = [publish(quasar, seed) for seed in range(200)]
    assert {one.masses["MgII"] for one in drawn} == {0.0, 8.6}
    assert all(one.masses["MgII"] or one.masses["CIV"] for one in drawn)


def test_civ_masses_are_published_lower_than_measured_and_scatter(quasar):
    drawn = np.array([publish(quasar, seed).masses["CIV"] for seed in range(400)])
    published = drawn[drawn > 0.0] - MEASURED["CIV"]
    assert np.mean(published) == pytest.approx(labels.CIV_OFFSET, abs=0.05)
    assert 0.8 * labels.CIV_SCATTER < np.std(published) < 1.5 * labels.CIV_SCATTER
    fitted = float(virial.mass("CIV", quasar.log_l1350, quasar.fwhm["CIV"]))
    assert labels.true_masses(quasar)["CIV"] == pytest.approx(fitted + labels.CIV_OFFSET)


def test_a_fit_that_took_iron_for_the_line_is_not_published():
    table = pd.DataFrame(
        {
            "LMBH_MgII": [8.5, 9.9, np.nan],
            "LMBH_CIV": [8.4, 8.3, 8.2],
            "FLAGS": ["Mg II absorbed", "Mg II very wide; C IV absorbed", ""],
        }
    )
    masses = pd.DataFrame(labels.trusted_masses(table))
    assert masses["CIV"].tolist() == [8.4, 8.3, 8.2]
    assert masses["MgII"].isna().tolist() == [False, True, True]


def test_lines_outside_the_spectrum_have_no_mass(quasar):
    assert publish(quasar, redshift=1.5).masses == {"Hb": 0.0, "Ha": 0.0, "MgII": 8.6, "CIV": 0.0}
    near = publish(quasar, redshift=0.35).masses
    assert near["Hb"] > 0.0
    assert near["Ha"] > 0.0
    assert publish(quasar, redshift=0.35, labelled=False).masses == NO_MASSES
