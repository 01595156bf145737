"""spSpec files of SDSS-I/II, data releases 1 to 7: an image with a row each for flux, error and mask.

Data model: http://classic.sdss.org/dr7/dm/flatFiles/spSpec.html
"""

from pathlib import Path

import numpy as np

from quasar_mass.core.survey import BRIGHTSKY, format_spec_id
from quasar_mass.spectra import fits_headers
from quasar_mass.spectra.sdss import TELESCOPE, check_values, global_pixels
from quasar_mass.spectra.spectrum import REDSHIFT_NOTE, Spectrum, grid_wavelength

_FLUX, _ERROR, _MASK = 0, 2, 3  # rows; 1 is the flux without continuum, 4 the sky
_KEYS = ("PLATEID", "FIBERID", "COEFF0", "COEFF1")
# SPEC_CLN: 1 star, 2 galaxy, 3 quasar, 4 quasar of high redshift, 5 sky, 6 late star, 7 galaxy with emission lines
_CLASSES = {1: "STAR", 2: "GALAXY", 3: "QSO", 4: "QSO", 5: "SKY", 6: "STAR", 7: "GALAXY"}
_LOW_CONFIDENCE = 0.35  # of Z_CONF: below it SDSS-I/II called a redshift unsure (the bit LOC of Z_WARNIN)


def recognises(hdus: list[fits_headers.Hdu]) -> bool:
    """Whether these are the headers of a spSpec file: an image of four or five rows, of one fibre."""
    sizes = hdus[0].sizes
    shape = sizes.get("NAXIS") == 2 and sizes.get("NAXIS2") in (4, 5)
    return shape and all(hdus[0].text(key) is not None for key in _KEYS)


def decode(content: bytes, path: Path) -> Spectrum:
    """Decode a spSpec file. It has no E(B-V) of the object.

    Parameters
    ----------
    content : bytes
        The whole file.
    path : Path
        Its name, for errors.

    Raises
    ------
    SpectrumError, ValueError
        If this is no such file, is damaged, or its pixels contradict one another.
    """
    end = fits_headers.walk(content)[0].end
    with fits_headers.opened(content[:end]) as hdus:
        keys, image = hdus[0].header, np.asarray(hdus[0].data, np.float64)
        flux, error, mask = image[_FLUX], image[_ERROR], image[_MASK]
        good = error > 0  # an error of 0 or less marks a pixel without data
        ivar = np.where(good, 1.0 / np.where(good, error, 1.0) ** 2, 0.0)
        check_values(flux, ivar, path)
        log_wavelength = keys["COEFF0"] + keys["COEFF1"] * np.arange(len(flux))
        pixel = global_pixels(log_wavelength)
        confidence = keys.get("Z_CONF", 1.0)
        unsure = [f"{REDSHIFT_NOTE} with Z_CONF {confidence:.2f}"] if confidence < _LOW_CONFIDENCE else []
        return Spectrum(
            wavelength=10.0**log_wavelength if pixel is None else grid_wavelength(pixel),
            flux=flux,
            ivar=ivar,
            mask=np.nan_to_num(mask).astype(np.int64) & BRIGHTSKY != 0,
            redshift=float(keys.get("Z", np.nan)),
            spec_id=format_spec_id(*(int(keys[key]) for key in ("PLATEID", "MJD", "FIBERID"))),
            kind="sdss",
            spectral_class=_CLASSES.get(keys.get("SPEC_CLN"), ""),
            run2d=str(keys.get("VERS2D", "")).strip(),
            telescope=TELESCOPE,
            notes=tuple(unsure),
            pixel=pixel,
        )
