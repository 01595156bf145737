"""The golden sample: a few simulated spectra, and the masses that the shipped model gives them.

    .venv/bin/python tests/golden_sample.py

writes `masses.csv` again. That is needed only after the shipped model has been trained again: a test compares the
model's predictions with these numbers, so look at the differences before you commit them. `spectra.parquet` stays as it
is; if it is missing, it is simulated and built.
"""

import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent / "golden"
SPECTRA, MASSES = HERE / "spectra.parquet", HERE / "masses.csv"
OBJECTS, SEED = 40, 12  # of the simulation
TAKEN = 24  # spectra of it
COLUMNS = ["EPOCH", "LMBH", "LMBH_LOW", "LMBH_HIGH", "FLAGS"]


def simulate() -> None:
    """Make `spectra.parquet`: a real table of a survey, with fewer rows."""
    from quasar_mass.core.survey import Survey
    from quasar_mass.simulation.simulated_survey import simulate
    from quasar_mass.tables import survey_tables
    from quasar_mass.tables.build.pipeline import build

    with tempfile.TemporaryDirectory() as folder:
        survey = Survey(Path(folder) / "survey")
        simulate(survey, objects=OBJECTS, seed=SEED, quiet=True)
        build(survey, quiet=True)
        about = survey_tables.read_about(survey.spectra)
        frame, flux = next(survey_tables.iterate_spectra(survey.spectra, TAKEN))
    batch = {name: frame[name].astype(object).where(frame[name].notna(), None).tolist() for name in frame}
    survey_tables.write_spectra(SPECTRA, [batch | {"flux": flux}], survey_tables.read_grid(about), lambda: about)


def predicted(model: Path):
    """The name of a model (`Ensemble.name`) and its table of masses of the sample."""
    from quasar_mass.predict import mass_table
    from quasar_mass.predict.predictor import Predictor

    predictor = Predictor.load(model)
    return predictor.ensemble.name, mass_table.predict_table(SPECTRA, predictor, quiet=True)[COLUMNS]


def expected():
    """The committed numbers: the name of the model that gave them, and the table."""
    import pandas as pd

    with MASSES.open(encoding="utf-8") as file:
        name = file.readline().split()[2].rstrip(",")
        return name, pd.read_csv(file, keep_default_na=False)


def main() -> int:
    """Write the masses again."""
    sys.path.insert(0, str(HERE.parent.parent))
    from quasar_mass.predict.inputs import SHIPPED_MODEL

    if not SPECTRA.exists():
        simulate()
    name, table = predicted(SHIPPED_MODEL)
    text = table.to_csv(index=False, float_format="%.6f", lineterminator="\n")
    MASSES.write_text(f"# model {name}, by tests/golden_sample.py; simulated spectra\n{text}", encoding="utf-8")
    print(f"written: {MASSES}, {len(table)} spectra, model {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
