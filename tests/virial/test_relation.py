import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasar_mass import virial
from quasar_mass.core.survey import LABEL_LINES


@pytest.mark.parametrize(
    ("line", "luminosity", "fwhm", "expected"),
    [
        # a + 0.5 * (log L - 44) + 2 * log10(FWHM), worked by hand: 2 log10(1000) = 6, 2 log10(4000) = 7.204
        ("MgII", 44.0, 1000.0, 6.82),
        ("MgII", 45.0, 4000.0, 8.524),
        ("CIV", 45.6, 1000.0, 7.57),
        ("Hb", 46.0, 10_000.0, 9.91),
        ("Ha", 44.0, 1000.0, 6.96),
    ],
)
def test_masses_agree_with_numbers_worked_by_hand(line, luminosity, fwhm, expected):
    assert virial.mass(line, luminosity, fwhm) == pytest.approx(expected, abs=5e-4)


@given(
    line=st.sampled_from(sorted(virial.CALIBRATIONS)), luminosity=st.floats(42.0, 48.0), fwhm=st.floats(500.0, 30_000.0)
)
def test_width_of_a_mass_gives_the_mass_back(line, luminosity, fwhm):
    mass = virial.mass(line, luminosity, fwhm)
    assert virial.fwhm(line, mass, luminosity) == pytest.approx(fwhm, rel=1e-9)


def test_every_label_line_has_a_calibration_and_no_other():
    assert sorted(virial.CALIBRATIONS) == sorted(LABEL_LINES)


def test_an_unknown_line_is_named():
    with pytest.raises(ValueError, match="'OIII'; choose one of Hb, Ha, MgII, CIV"):
        virial.mass("OIII", 45.0, 4000.0)
