"""Training as the notebook does it, with a network so small that it takes a second: for tests that stop it."""

import sys
from dataclasses import replace
from pathlib import Path


def main(arguments: list[str]) -> int:
    """Train, save and calibrate; `arguments` are a survey with its tables and the folder for what comes of it."""
    from get_Chen_data import get_Chen_data
    from quasar_mass.core.errors import QuasarMassError
    from quasar_mass.core.survey import Survey
    from quasar_mass.network import architecture, backend
    from quasar_mass.network.easyai import EasyAI
    from quasar_mass.predict import calibrate
    from quasar_mass.tables import dataset, survey_tables

    survey, work = Survey(arguments[0]), Path(arguments[1])
    folder = work / "checkpoints"
    try:
        quasars, spectra, X_train, X_val, _, y_train, y_val, _ = get_Chen_data("Load", survey.folder, quiet=True)
        layers = backend.import_keras().layers
        hidden = [layers.AveragePooling1D(8), layers.Flatten(), layers.Dropout(0.1), layers.Dense(6, "tanh")]
        ann = EasyAI([*hidden, layers.Dense(1)], (X_train.shape[1], 1), seed=3)
        about = dataset.describe(survey_tables.read_about(survey.spectra), quasars, spectra)
        for stage, name in zip(architecture.STAGES, ("intermediate", "final"), strict=True):
            stage = replace(stage, training_epochs=3)
            ann.train((X_train, y_train), (X_val, y_val), stages=[stage], checkpoints=folder, batch_size=4)
            ann.save(work / f"{name}.h5", about=about)
        calibrate.calibrate_file([work / "final.h5"], survey, quiet=True)
    except (QuasarMassError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
