"""All of the work on a small survey: simulate, build, train, calibrate, predict; for a test that compares the bytes.

python tests/whole_job.py FOLDER JOBS
"""

import sys
from pathlib import Path

STEP = 1e-3
SEED, OBJECTS = 3, 30
# Work is handed out in small pieces to several processes, so that these end in another order than they began.
PIECE = 7


def whole_job(folder: Path, jobs: int) -> None:
    """Do all of the work in so many processes."""
    from quasar_mass.core.survey import Survey
    from quasar_mass.network import architecture
    from quasar_mass.network.easyai import EasyAI
    from quasar_mass.predict import mass_table
    from quasar_mass.predict.calibrate import calibrate_file
    from quasar_mass.predict.predictor import Predictor
    from quasar_mass.simulation import simulated_survey
    from quasar_mass.tables import dataset
    from quasar_mass.tables.build import pipeline

    survey = Survey(folder / "survey")
    simulated_survey.simulate(survey, objects=OBJECTS, seed=SEED, jobs=jobs, quiet=True)
    pipeline.build(survey, step=STEP, jobs=jobs, quiet=True)
    data = dataset.load(survey)
    ann = EasyAI(architecture.layers(STEP), (data.grid.size, 1), seed=SEED)
    stages = [architecture.Stage(stage.name, stage.learning_rate, 1) for stage in architecture.STAGES]
    ann.train(data.part("training"), data.part("validation"), stages=stages, quiet=True)
    model = folder / "model.h5"
    ann.save(model, about=dataset.describe(data.about, data.quasars, data.spectra))
    calibrate_file([model], survey, fresh=4, quiet=True)
    quoter = Predictor.load(model, confidence=0.5)
    for name, per_object in (("spectra", False), ("objects", True)):
        table = mass_table.predict_survey(survey, quoter, per_object=per_object, quiet=True)
        mass_table.write(table, folder / f"{name}.parquet", {"confid": 0.5})


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from quasar_mass.simulation import simulated_survey
    from quasar_mass.tables.build import pipeline

    simulated_survey.CHUNK_SPECTRA = pipeline._CHUNK = PIECE
    whole_job(Path(sys.argv[1]), int(sys.argv[2]))
