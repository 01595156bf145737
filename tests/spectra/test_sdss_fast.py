"""The fast reader of spec-lite files against astropy: the same to the bit, or left to astropy."""

import io
import re

import numpy as np
import pytest
from astropy.io import fits

from quasar_mass.core.errors import SpectrumError
from quasar_mass.spectra import sdss, sdss_fast
from quasar_mass.spectra.read import read as read_spectrum


def decoded(path):
    return sdss_fast.find(memoryview(path.read_bytes()))


def assert_same(one, other):
    for name, value in vars(one).items():
        if isinstance(value, np.ndarray):
            assert value.dtype == getattr(other, name).dtype, name
            assert value.tobytes() == getattr(other, name).tobytes(), name
        else:
            assert repr(value) == repr(getattr(other, name)), name  # NaN is NaN


def by_astropy(path):
    try:
        return sdss.decode(path.read_bytes(), path)
    except ValueError as error:
        raise SpectrumError(path, str(error), reason="unreadable file") from error


def outcome(read, path):
    """The spectrum, or the reason why there is none."""
    try:
        return read(path)
    except SpectrumError as error:
        return error.reason


def agree(path):
    """Whether a file is read; by both readers with the same result, or refused for the same reason."""
    slow, usual = outcome(by_astropy, path), outcome(read_spectrum, path)
    if isinstance(slow, str):
        assert usual == slow
        return False
    assert_same(usual, slow)
    return True


def test_every_real_lite_file_is_read_by_the_byte_as_astropy_reads_it(real_data):
    paths = sorted((real_data / "sdss").glob("*/*.fits"))
    lite = 0
    for path in paths:
        with fits.open(path) as hdus:
            four = len(hdus) == 4
        # SDSS-I/II files name no reduction in HDU 2 in the way of the others; astropy may have them
        assert (decoded(path) is not None) == four, path.name
        lite += four
        assert agree(path)
    print(f"\n{lite} of {len(paths)} real files by the byte")


def test_simulated_files_are_read_by_the_byte_as_astropy_reads_them(simulated):
    for path in simulated:
        assert decoded(path) is not None
        assert agree(path)


class Content(bytes):
    """Bytes that do not print themselves."""

    def __repr__(self):
        return f"{len(self)} bytes"


@pytest.fixture(scope="module")
def whole(simulated):
    return Content(simulated[0].read_bytes())


def card_of(content, key):
    """Where a card begins."""
    return next(m.start() for m in re.finditer(re.escape(key.ljust(8).encode()), content) if m.start() % 80 == 0)


def replaced(content, key, card):
    at = card_of(content, key)
    return content[:at] + card.ljust(80).encode("latin-1") + content[at + 80 :]


@pytest.mark.parametrize(
    ("key", "card"),
    [
        ("SIMULATE", "simulate=                    T"),
        ("SIMULATE", "HIERARCH SIMULATE = T"),
        ("SIMULATE", "SIMULATE=                    F"),
        ("PLATEID", "PLATEID = 3655"),
        ("PLATEID", "PLATEID =                3655. / a float"),
        ("PLATEID", "plateid =                 1234"),
        ("MJD", "COMMENT no MJD here"),
        ("TTYPE1", "TTYPE1  = 'Flux    '"),
        ("TTYPE2", "TTYPE2  = 'FLUX    '"),
        ("TFORM1", "TFORM1  = '1E      '"),
        ("TFORM1", "TFORM1  = 'J       '"),
        ("TFORM1", "TFORM1  = '2E      '"),
        ("TFORM8", "TSCAL1  =                  2.0"),
        ("TFORM8", "TNULL4  =                    0"),
        ("NAXIS1", "NAXIS1  =                   36"),
        ("NAXIS2", "NAXIS2  =                    0"),
        ("NAXIS2", "NAXIS2  =            999999999"),
        ("NAXIS2", "NAXIS2  = -5"),
        ("PCOUNT", "PCOUNT  =                 2880"),
        ("TFIELDS", "TFIELDS =                    7"),
        ("BITPIX", "BITPIX  =                  -32"),
        ("XTENSION", "XTENSION= 'IMAGE   '"),
        ("END", "ENDE"),
        ("END", "END                     junk"),
        ("EXTEND", "END"),
        ("SIMULATE", "NAXIS   =                    1"),
        ("SIMULATE", "XTENSION= 'IMAGE   '"),
    ],
)
def test_what_is_said_in_another_way_is_read_as_astropy_reads_it(whole, tmp_path, key, card):
    path = tmp_path / "spec.fits"
    path.write_bytes(replaced(whole, key, card))
    agree(path)


@pytest.mark.parametrize("card", ["XTENSION=                    0", "NAXIS2  =                   17", "tfields =  7"])
def test_what_says_where_all_lies_is_said_once(whole, tmp_path, card):
    """Astropy believes the second one, in part."""
    path = tmp_path / "spec.fits"
    with fits.open(io.BytesIO(whole)) as hdus:
        start, data = hdus[1].fileinfo()["hdrLoc"], hdus[1].fileinfo()["datLoc"]
    header = whole[start:data].rstrip()
    assert header.endswith(b"END")
    header = header[:-3] + card.ljust(80).encode() + b"END"
    assert len(header) <= data - start, "it fits into the block"
    path.write_bytes(whole[:start] + header.ljust(data - start) + whole[data:])
    assert decoded(path) is None
    agree(path)


def test_a_nan_that_signals_is_a_nan(whole, tmp_path):
    """0x7fa00000: the processor minds when it becomes another type, and NumPy warned of it."""
    path = tmp_path / "spec.fits"
    with fits.open(io.BytesIO(whole)) as hdus:
        start, width = hdus[1].fileinfo()["datLoc"], hdus[1].header["NAXIS1"]
        assert hdus[1].columns.names[0].upper() == "FLUX"
    at = start + 5 * width
    path.write_bytes(whole[:at] + bytes.fromhex("7fa00000") + whole[at + 4 :])
    assert not agree(path)
    assert outcome(read_spectrum, path) == "invalid values"


@pytest.mark.parametrize("more", [b"", b"\0" * 2880, b"x", b"junk" * 720])
def test_what_follows_the_last_hdu_is_judged_by_astropy(whole, tmp_path, more):
    path = tmp_path / "spec.fits"
    path.write_bytes(whole + more)
    assert agree(path) or more
