"""Packages that not every installation has: pyproject.toml lists them as extras of this one."""

# module: the extra that brings it
EXTRAS = {
    **dict.fromkeys(("keras", "tensorflow", "scipy", "sklearn"), "train"),
    **dict.fromkeys(("bokeh", "jinja2", "matplotlib"), "report"),
    **dict.fromkeys(("nbclient", "nbformat"), "notebook"),
    **dict.fromkeys(("dask", "distributed"), "cluster"),
    "jax": "jax",
}


def missing(module: str | None) -> str | None:
    """Say how to install a module that could not be imported; None for one that is of no extra."""
    name = (module or "").split(".")[0]
    if name not in EXTRAS:
        return None
    return f"{name} is not installed; run: pip install 'quasar-mass-ml[{EXTRAS[name]}]'"
