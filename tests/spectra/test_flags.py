"""The order of flags: what doubts a mass most is read first."""

import pytest

from quasar_mass.predict import predictor
from quasar_mass.spectra import redshift_check, rest_frame
from quasar_mass.spectra.flags import joined
from quasar_mass.uncertainty import training_domain


def test_the_most_serious_flag_comes_first_and_the_mildest_last():
    given = [
        "units assumed: Angstrom, 1e-17 erg/s/cm2/A",
        rest_frame.FLAG_NO_EXTINCTION,
        "C IV low S/N",
        training_domain.FLAG_BAL,
        rest_frame.FLAG_MANY_BAD,
        training_domain.FLAG_HIDDEN,
        training_domain.FLAG_SHAPE,
        "redshift with ZWARNING 4",
        "class GALAXY",
        redshift_check.FLAG_NO_LINES,
        f"{redshift_check.FLAG} by +3,000 km/s",
        rest_frame.FLAG_LUMINOSITY,
    ]
    found = joined([*given, "", "class GALAXY"]).split("; ")
    assert [flag for flag in found if not flag.startswith("unlike")] == [
        flag for flag in given[::-1] if not flag.startswith("unlike")
    ]
    assert found[5:7] == [training_domain.FLAG_HIDDEN, training_domain.FLAG_SHAPE]  # of the same weight: as they come


@pytest.mark.parametrize("module", [predictor, rest_frame, redshift_check, training_domain])
def test_every_flag_has_its_place(module):
    """A flag that has been given other words would stand anywhere."""
    flags = [value for name, value in vars(module).items() if name.startswith("FLAG") and isinstance(value, str)]
    assert flags
    for flag in flags:
        graver = joined(["an unnamed flag", flag]).split("; ")[0] == flag
        milder = joined([flag, "an unnamed flag"]).split("; ")[1] == flag
        assert graver or milder, flag
