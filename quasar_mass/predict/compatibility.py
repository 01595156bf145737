"""Which model, and whether it fits: the shipped one, its grid, what it was trained on, what it must not be used on."""

from pathlib import Path

from quasar_mass.core.errors import ModelError
from quasar_mass.core.survey import HOME, REFERENCE_STEP, STEP, Grid
from quasar_mass.network.easyai import EasyAI

FINAL = "Best_ANN_final_stage.h5"
SHIPPED_MODEL = HOME / "models" / "Best_models" / FINAL
DEMO_MODEL = HOME / "models" / "demo" / FINAL


def default_model() -> Path:
    """The shipped model, or the demonstration's own where none is shipped."""
    return SHIPPED_MODEL if SHIPPED_MODEL.exists() or not DEMO_MODEL.exists() else DEMO_MODEL


def model_grid(model: EasyAI) -> Grid:
    """The grid a model expects, from its own description or, for a file from elsewhere, from its input size."""
    if "step" in ((model.about or {}).get("grid") or {}):
        return Grid(model.about["grid"]["step"])
    for grid in (Grid(STEP), Grid(REFERENCE_STEP)):
        if model.model.input_shape[1] == grid.size:
            return grid
    raise ModelError(
        "the model",
        expected=f"{Grid(STEP).size} or {Grid(REFERENCE_STEP).size} input pixels, or a file that describes its grid",
        got=f"{model.model.input_shape[1]} pixels and no description",
        do="use a model of this project",
    )


def model_kind(model: EasyAI) -> str:
    """``"simulated"``, ``"sdss"``, or ``"unknown"`` for a file from elsewhere."""
    return (model.about or {}).get("kind", "unknown")


def transfer_note(model: EasyAI, survey_kind: str) -> str:
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


def check_fit(model: EasyAI, about: dict, where: Path) -> None:
    """Refuse a table that the model's input would misread."""
    step = model_grid(model).step
    if "grid" not in about or about["grid"]["step"] != step:
        raise ModelError(
            where,
            expected=f"a table with the model's grid step {step:g}",
            got=f"{about['grid']['step']:g}" if "grid" in about else "a table that does not say",
            do=f"run: python get_Chen_data.py build --step {step:g}",
        )
    corrected = (model.about or {}).get("extinction_corrected")
    if corrected is not None and corrected != about.get("extinction_corrected"):
        words = {True: "corrected for Galactic extinction", False: "not corrected for Galactic extinction"}
        words[None] = "of which the table does not say"
        raise ModelError(
            where,
            expected=f"spectra {words[corrected]}, as the model was trained on",
            got=f"spectra {words[about.get('extinction_corrected')]}",
            do=f"build the table {'without' if corrected else 'with'} --no-extinction",
        )
