"""Which spectra a model is for: its grid, what it was trained on, and whether a table of spectra fits it."""

from pathlib import Path

from quasar_mass.core.errors import ModelError
from quasar_mass.core.survey import REFERENCE_STEP, STEP, Grid
from quasar_mass.network.easyai import EasyAI
from quasar_mass.network.onnx_network import OnnxNetwork

Network = EasyAI | OnnxNetwork


def model_grid(model: Network) -> Grid:
    """The grid a model expects, by its description or, for a file from elsewhere, by its number of input pixels."""
    if "step" in ((model.about or {}).get("grid") or {}):
        return Grid(model.about["grid"]["step"])
    pixels = model.input_shape[0]
    for grid in (Grid(STEP), Grid(REFERENCE_STEP)):
        if pixels == grid.size:
            return grid
    raise ModelError(
        "the model",
        f"takes {pixels} pixels and does not describe its grid, which is none of this project's "
        f"({Grid(STEP).size} or {Grid(REFERENCE_STEP).size} pixels); use a model of this project",
    )


def model_kind(model: Network) -> str:
    """What a model was trained on: ``"simulated"``, ``"sdss"``, or ``"unknown"`` for a file from elsewhere."""
    return (model.about or {}).get("kind", "unknown")


def takes_rest_frame(model: Network) -> bool:
    """Whether a model takes `spectra.network_input`; the models of older versions take the tables' flux as it is."""
    return "input" in (model.about or {})


def takes_partial(model: Network) -> bool:
    """Whether a model was trained on spectra that do not show the whole window."""
    return bool(((model.about or {}).get("trained_on") or {}).get("partial", False))


def transfer_note(model: Network, survey_kind: str) -> str:
    """One line to print with every prediction: what the model was trained on, and what it is used on."""
    kind = model_kind(model)
    if kind == "unknown":
        return "note: this model file does not say what it was trained on; take its masses with care"
    if kind == "simulated" and survey_kind == "sdss":
        return (
            "note: this model was trained on SIMULATED spectra and is applied to observed ones;"
            " how well it transfers is not established"
        )
    return f"note: model trained on {kind} spectra, applied to {survey_kind} ones"


def check_fit(model: Network, about: dict, where: Path) -> None:
    """Refuse a table of spectra on another grid than the model's, or treated for extinction in another way.

    Parameters
    ----------
    model : EasyAI or OnnxNetwork
    about : dict
        What the table says of itself (`survey_tables.read_about`).
    where : Path
        The table, for the error.

    Raises
    ------
    ModelError
    """
    step = model_grid(model).step
    if "grid" not in about or about["grid"]["step"] != step:
        other = f"has the grid step {about['grid']['step']:g}" if "grid" in about else "does not say its grid step"
        raise ModelError(
            where, f"{other}, and the model needs {step:g}; run: python get_Chen_data.py build --step {step:g}"
        )
    if about.get("partial") and not takes_partial(model):
        raise ModelError(
            where, "holds partial spectra, and the model needs the whole window; build the table without --reach"
        )
    corrected = (model.about or {}).get("extinction_corrected")
    if corrected is not None and corrected != about.get("extinction_corrected"):
        words = {True: "corrected", False: "not corrected", None: "perhaps corrected"}
        given = words[about.get("extinction_corrected")]
        raise ModelError(
            where,
            f"holds spectra {given} for Galactic extinction, and the model needs them {words[corrected]}; "
            f"build the table {'without' if corrected else 'with'} --no-extinction",
        )
