"""Black-hole masses of quasars from single spectra.

Start here::

    import quasar_mass as qm

    model = qm.load()
    model.predict(qm.read("spec-7666-57339-0121.fits"))
    model.predict(wavelength, flux, ivar, redshift=1.62, ebv=0.03)

`load` gives the shipped model, or the one of a file; `read` gives a `Spectrum`; `Survey` is a folder of catalogues,
spectra and tables; `EasyAI` builds and trains networks. Every error that a user can put right is a `QuasarMassError`.
The notebook uses some modules as well: `dataset` and `survey_tables` for a survey's tables, `assessment`, `baselines`,
`attribution` and `figures` for what becomes of them.

Importing the package imports neither TensorFlow nor pandas: each name is loaded when it is first used.
"""

import importlib

__version__ = "0.3.0"

# where each public name is
_MODULE_OF = {
    "AugmentedSource": "quasar_mass.network.augmentation",
    "EasyAI": "quasar_mass.network.easyai",
    "LUMINOSITY_UNIT": "quasar_mass.core.constants",
    "QuasarMassError": "quasar_mass.core.errors",
    "Spectrum": "quasar_mass.spectra.spectrum",
    "Stage": "quasar_mass.network.architecture",
    "Survey": "quasar_mass.core.survey",
    "calibrate_file": "quasar_mass.predict.calibrate",
    "import_keras": "quasar_mass.network.backend",
    "keep_previous": "quasar_mass.core.files",
    "load": "quasar_mass.predict.predictor",
    "luminosity_density": "quasar_mass.spectra.luminosity",
    "read": "quasar_mass.spectra.read",
}
_MODULES = {
    "assessment": "quasar_mass.report.assessment",
    "attribution": "quasar_mass.report.attribution",
    "baselines": "quasar_mass.report.baselines",
    "comparison": "quasar_mass.report.comparison",
    "dataset": "quasar_mass.tables.dataset",
    "figures": "quasar_mass.report.figures",
    "survey_tables": "quasar_mass.tables.survey_tables",
}
__all__ = [*_MODULE_OF, *_MODULES]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
