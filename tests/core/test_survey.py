"""Where a survey's files and the shipped models lie."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import quasar_mass
from quasar_mass.core.survey import HOME, shipped_model

PRINT = "from quasar_mass.core import survey; print(survey.REAL_FOLDER, survey.shipped_model('model.h5'), sep='\\n')"


def test_in_the_repository_surveys_and_models_are_the_repository_s():
    assert Path(quasar_mass.__file__).parent == HOME / "quasar_mass"
    assert shipped_model("Best_ANN_final_stage.h5").exists()


@pytest.mark.parametrize("has_models", [True, False])
def test_installed_surveys_lie_in_the_current_folder(tmp_path, has_models):
    site, work = tmp_path / "site-packages", tmp_path / "work"
    shutil.copytree(HOME / "quasar_mass" / "core", site / "quasar_mass" / "core")
    (site / "quasar_mass" / "__init__.py").touch()
    work.mkdir()
    model = work / "models" / "Best_models" / "model.h5"
    if has_models:
        model = site / "quasar_mass" / "models" / "model.h5"
        model.parent.mkdir()
        model.touch()
    code = f"import sys; sys.path.insert(0, {str(site)!r}); {PRINT}"
    said = subprocess.run([sys.executable, "-c", code], cwd=work, capture_output=True, text=True, check=True).stdout
    assert said.split() == [str(work / "data"), str(model)]
