"""The accuracy of predicted masses: in groups of spectra, and compared with baselines, networks and the line fit."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from quasar_mass import virial
from quasar_mass.core import evaluation
from quasar_mass.core.survey import Survey
from quasar_mass.network.easyai import EasyAI
from quasar_mass.report import baselines, comparison
from quasar_mass.spectra.read import read
from quasar_mass.tables import dataset
from quasar_mass.tables.dataset import Dataset

MIN_TRAINING = 20  # spectra without which no baseline is trained
CHUNK = 256  # spectra fitted at a time


def accuracy(rows: pd.DataFrame) -> pd.DataFrame:
    """Score predictions against labels, with the error of every RMSE.

    Parameters
    ----------
    rows : DataFrame
        As of `evaluation.score_table`.

    Returns
    -------
    DataFrame
        `evaluation.score_table` with ``rmse_error``, from a bootstrap over objects, in dex.
    """
    scores = evaluation.score_table(rows)
    errors = []
    for members in evaluation.groups(rows).values():
        residual = (members["PREDICTED"] - members["LMBH"]).to_numpy(float)
        errors.append(comparison.bootstrap_rmse(members["OBJECT"].to_numpy(), residual))
    scores.insert(2, "rmse_error", errors)
    return scores.drop(columns="label_sd")


def predict_baselines(data: Dataset) -> dict[str, np.ndarray]:
    """Train the baselines on a survey's training spectra, and predict its test spectra; empty if these are too few."""
    (train_x, train_y), (test_x, test_y) = data.part("training"), data.part("test")
    if len(train_y) < MIN_TRAINING:
        return {}
    redshift = data.spectra["Z"]
    training = train_x, redshift[train_y.index].to_numpy(), train_y
    return dict(baselines.predictions(training, (test_x, redshift[test_y.index].to_numpy())))


def compare_networks(survey: Survey, models: Mapping[int, Path], shipped: int, intermediate: Path) -> tuple[str, dict]:
    """Compare networks, baselines and the line fit on the test objects of a simulated survey.

    Parameters
    ----------
    survey : Survey
        Simulated: its true masses are known.
    models : mapping of int to Path
        The final model of each seed.
    shipped : int
        The seed that is shipped.
    intermediate : Path
        The intermediate model of that seed.

    Returns
    -------
    text : str
        Markdown.
    summary : dict
        The same numbers.
    """
    data = dataset.load(survey)
    spectra, label = data.part("test")
    rows = comparison.add_truth(data.spectra.loc[label.index].reset_index(), survey)
    masses = comparison.known_masses(rows) | comparison.labels_by_line(rows)
    predictions = predict_baselines(data) | {"virial fit of the same spectrum": fit_masses(survey, rows)}
    names = {seed: f"network, seed {seed}" + (" (shipped)" if seed == shipped else "") for seed in models}
    predictions |= {names[seed]: EasyAI.load(path).predict(spectra) for seed, path in models.items()}
    predictions["network after stage one (shipped)"] = EasyAI.load(intermediate).predict(spectra)
    predictions["the label itself"] = masses["label"]
    table = comparison.compare(predictions, rows["OBJECT"].to_numpy(), masses)
    of_label = [("the label itself", against) for against in masses if against.startswith("label")]
    table = table.drop(index=of_label)
    rmse = table.loc[[(name, "label") for name in names.values()], "rmse"]
    truth = pd.read_parquet(survey.truth).set_index("OBJECT").loc[rows["OBJECT"]]
    slopes = comparison.responses(
        predictions[names[shipped]],
        two_log_fwhm=2.0 * np.log10(truth["FWHM_MgII"].to_numpy()),
        log_luminosity=truth["log_L3000"].to_numpy(),
    )
    text = [
        comparison.markdown(table),
        "",
        f"{comparison.SIGMA_NMAD}.",
        *_over_seeds(rmse),
        "Response of the shipped network's predictions, regression on both together: slope "
        f"{slopes['two_log_fwhm']:.2f} with 2 log FWHM (Mg II), {slopes['log_luminosity']:.2f} with log L3000.",
    ]
    summary = {"survey": str(survey.folder), "kind": survey.kind, "table": table.reset_index().to_dict("records")}
    return "\n".join(text), summary | {"responses": slopes}


def _over_seeds(rmse: pd.Series) -> list[str]:
    """Mean and standard deviation over the seeds, where there are several."""
    if len(rmse) < 2:
        return []
    spread = f"{rmse.mean():.4f} ± {rmse.std(ddof=1):.4f} dex"
    return [f"Networks against the label, mean and standard deviation over {len(rmse)} seeds: {spread}."]


def fit_masses(survey: Survey, rows: pd.DataFrame) -> np.ndarray:
    """Fit the lines of a survey's spectra.

    Parameters
    ----------
    survey : Survey
    rows : DataFrame
        With EPOCH and Z of each spectrum.

    Returns
    -------
    ndarray, shape (n,)
        log10(M_BH / M_Sun); NaN where no line can be measured.
    """
    masses = []
    for start in range(0, len(rows), CHUNK):
        chunk = rows.iloc[start : start + CHUNK]
        spectra = [read(survey.spectrum(*map(int, name.split("-")))) for name in chunk["EPOCH"]]
        ebv = [spectrum.ebv for spectrum in spectra]
        masses.append(virial.measure(spectra, redshift=chunk["Z"].to_numpy(), ebv=ebv)["LMBH"].to_numpy(float))
    return np.concatenate(masses)
