"""Black hole masses of quasars from single spectra: the rooms behind the notebook and the two scripts.

`CONTRIBUTING.md` shows the map of the rooms and the one way the arrows run.
"""

__version__ = "0.1.0"
