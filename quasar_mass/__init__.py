"""Black-hole masses of quasars from single spectra.

Start here::

    import quasar_mass as qm

    model = qm.load()
    model.predict(qm.read("spec-7666-57339-0121.fits"))
    model.predict(wavelength, flux, ivar, redshift=1.62, ebv=0.03)

`load` gives the shipped model, or the one of a file; `read` gives a `Spectrum`; `Survey` is a folder of catalogues,
spectra and tables; `EasyAI` builds and trains networks. Every error that a user can put right is a `QuasarMassError`.
Importing the package imports neither TensorFlow nor pandas: each name is loaded when it is first used.
"""

import importlib

__version__ = "0.3.0"

_MODULE_OF = {
    "EasyAI": "quasar_mass.network.easyai",
    "QuasarMassError": "quasar_mass.core.errors",
    "Spectrum": "quasar_mass.spectra.spectrum",
    "Survey": "quasar_mass.core.survey",
    "load": "quasar_mass.predict.predictor",
    "read": "quasar_mass.spectra.read",
}
__all__ = ["EasyAI", "QuasarMassError", "Spectrum", "Survey", "load", "read"]


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
