"""Header cards as bytes."""

from astropy.io import fits

from quasar_mass.spectra import fits_bytes


def test_cards_are_read_by_astropy_as_they_were_meant():
    values = {"A": True, "B": -3, "C": 2.5, "D": 1e-4, "E": "text", "F": 4.0}
    cards = [fits_bytes.card(*card) for card in values.items()]
    header = fits.Header.fromstring(fits_bytes.header(cards).decode())
    assert {key: header[key] for key in values} == values
    assert isinstance(header["F"], float)
    assert len(fits_bytes.header([], blocks=3)) == 3 * fits_bytes.BLOCK
