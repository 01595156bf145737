"""Headers that claim more than any file holds: one sentence, soon, in little memory."""

import gzip

import numpy as np
import pytest
import watch
from mutations import layout, with_card

from quasar_mass.core.survey import Survey
from quasar_mass.predict.inputs import gather
from quasar_mass.spectra.read import read as read_spectrum
from quasar_mass.tables.catalogs import read_dr16q

SIZES = (-1, -2880, -5760, -(10**6), -(10**17), 2**31, 10**12, 2**63 - 1)


def refuse(read) -> None:
    assert watch.attempt(read) is None


@pytest.mark.parametrize("key", ["NAXIS", "NAXIS1", "NAXIS2", "PCOUNT", "GCOUNT", "TFIELDS", "BITPIX"])
@pytest.mark.parametrize("spelling", ["{key:8}= {value:>20}", "HIERARCH {key} = {value}", "{lower:8}= {value:>20}"])
def test_absurd_sizes_in_a_header_end_in_a_sentence(tmp_path, make, tiny_survey, key, spelling):
    """On negative sizes astropy goes back over the same header for ever; on large ones it makes lists as long."""
    path = make.spec(tmp_path / "spec.fits")
    content, catalogue = path.read_bytes(), tiny_survey.dr16q.read_bytes()
    for value in SIZES:
        text = spelling.format(key=key, lower=key.lower(), value=value).encode()
        for hdu in layout(content)[1:3]:
            path.write_bytes(with_card(content, hdu, key if "HIER" not in spelling else "none", text))
            refuse(lambda: read_spectrum(path))
        path.write_bytes(with_card(catalogue, layout(catalogue)[1], key if "HIER" not in spelling else "none", text))
        refuse(lambda: read_dr16q(path, np.arange(3)))
        watch.attempt(lambda: gather([path.rename(tmp_path / "table.fits")], Survey(tmp_path)))
        (tmp_path / "table.fits").rename(path)


def test_a_file_larger_than_any_spec_file_is_not_read(tmp_path, make):
    path = make.spec(tmp_path / "spec.fits")
    with open(path, "r+b") as file:
        file.truncate(10**12)  # a hole: takes no room on the disk
    refuse(lambda: read_spectrum(path))


def test_a_gzip_d_file_that_unpacks_to_more_than_any_spec_file_is_not_read(tmp_path):
    path = tmp_path / "spec.fits.gz"
    path.write_bytes(gzip.compress(b"SIMPLE  " + b"\0" * 300_000_000, compresslevel=1))
    refuse(lambda: read_spectrum(path))
