"""What the usual names of columns and keys mean: which column of a table is the wavelength, the flux, the error."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

# Names as of `plain`; the first that a table has counts.
COLUMNS = {
    "flux": ("flux", "fluxdensity", "fluxlambda", "flambda", "flam", "flx", "fluxes", "coaddflux", "fnu", "fluxnu"),
    "ivar": ("ivar", "invvar", "inversevariance", "inversevar", "invvariance", "fluxivar", "ivarflux", "fluxinvvar"),
    "error": (
        *("error", "err", "errors", "sigma", "sig", "eflux", "fluxerr", "fluxerror", "errflux", "errorflux", "std"),
        *("fluxsigma", "sigmaflux", "uncertainty", "unc", "fluxuncertainty", "fluxunc", "uncertaintyflux", "rms"),
        *("stddev", "stdev", "fluxstd", "noise", "fluxnoise", "dflux", "fluxdensityerr", "fluxdensityerror"),
        *("eflambda", "eflam", "flamerr", "flambdaerr", "fnuerr", "efnu", "staterror"),
    ),
    "variance": ("variance", "var", "fluxvar", "fluxvariance", "varflux", "varianceflux"),
    "mask": ("mask", "andmask", "flag", "flags", "dq", "quality", "qual", "bad", "badpixel", "badpix", "bpm"),
    "good": ("good", "goodpixel", "goodpix", "gpm"),
}
ERRORS = ("ivar", "error", "variance")
# What is said of the object and not of its pixels: keys of a header, comments, columns that hold one value
KEYS = {
    "redshift": ("redshift", "z", "zqso", "zsys", "zem", "zspec", "zbest", "zvi", "zobj"),
    "ebv": ("ebv", "ebvsfd", "sfdebv"),
    "targetid": ("targetid",),
    "class": ("spectype", "class"),
    "telescope": ("telescop", "telescope"),
    "medium": ("airorvac", "wavetype", "medium", "wavelengthmedium", "wavelengths", "wavelength"),
}

_AXES = ("wavelength", "wavelengths", "wave", "lambda", "lam", "wl", "wavel", "wvl", "spectral", "spectralaxis")
_NEED_UNIT = ("frequency", "freq", "nu", "energy", "wavenumber")
_UNITS = {"a": "Angstrom", "aa": "Angstrom", "ang": "Angstrom", "angstrom": "Angstrom", "angstroms": "Angstrom"}
_UNITS |= {"nm": "nm", "um": "um", "micron": "um", "microns": "um", "hz": "Hz", "ev": "eV"}
_NEUTRAL = ("10", "axis", "obs", "observed", "vac", "vacuum", "helio", "grid", "frame")
_GLUED = re.compile(rf"(log|air|vac|obs|rest)?({'|'.join(_AXES)})(air|vac|obs|rest)?")


@dataclass(frozen=True)
class WavelengthName:
    """What the name of a wavelength says; `unit` is empty, or has to be stated elsewhere, where `needs_unit`."""

    unit: str = ""
    logarithm: bool = False
    air: bool = False
    rest_frame: bool = False
    needs_unit: bool = False


def plain(name: object) -> str:
    """A name without case, blanks and punctuation: ``E(B-V)`` is ``ebv``."""
    return re.sub(r"[^a-z0-9]", "", str(name).lower())


def wavelength_name(name: str) -> WavelengthName | None:
    """Take the name of a wavelength, or of a frequency or energy, apart; None for other names.

    Examples
    --------
    >>> wavelength_name("LOGLAM").logarithm, wavelength_name("wave_air_nm").air
    (True, True)
    >>> wavelength_name("wavelength_error")
    """
    words: list[str] = []
    for word in re.findall(r"[a-z]+|\d+", name.lower()):
        glued = _GLUED.fullmatch(word)
        words += [part for part in glued.groups() if part] if glued else [word]
    axes = [word for word in words if word in (*_AXES, *_NEED_UNIT)]
    units = [_UNITS[word] for word in words if word in _UNITS]
    others = [word for word in words if word not in (*axes, *_UNITS, *_NEUTRAL, "log", "air", "rest", "restframe")]
    if len(axes) != 1 or others:
        return None
    return WavelengthName(
        unit=units[0] if units else "",
        logarithm="log" in words,
        air="air" in words,
        rest_frame="rest" in words or "restframe" in words,
        needs_unit=axes[0] in _NEED_UNIT,
    )


def roles(names: Sequence[str]) -> dict[str, int]:
    """Which columns hold what.

    Parameters
    ----------
    names : sequence of str

    Returns
    -------
    dict of str to int
        The column of ``wavelength`` and of each of `COLUMNS` and `KEYS` that is there. Observed wavelengths in vacuum
        are taken before those in air; wavelengths in the rest frame are not taken.

    Raises
    ------
    ValueError
        If two columns have one of these names.
    """
    plains = [plain(name) for name in names]
    found = {}
    axes = {n: axis for n, name in enumerate(names) if (axis := wavelength_name(name)) and not axis.rest_frame}
    if axes:
        found["wavelength"] = min(axes, key=lambda n: (axes[n].needs_unit, axes[n].air, axes[n].logarithm))
    for role, aliases in {**KEYS, **COLUMNS}.items():
        name = next((alias for alias in aliases if alias in plains), None)
        if name is None:
            continue
        if plains.count(name) > 1:
            raise ValueError(f"two columns {names[plains.index(name)]}")
        found[role] = plains.index(name)
    return found


def is_spectrum(names: Sequence[str]) -> bool:
    """Whether columns of these names are a spectrum's: a wavelength and a flux."""
    try:
        return {"wavelength", "flux"} <= roles(names).keys()
    except ValueError:
        return True
