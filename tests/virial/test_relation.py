import pytest

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


def test_every_label_line_has_a_calibration_and_no_other():
    assert sorted(virial.CALIBRATIONS) == sorted(LABEL_LINES)
