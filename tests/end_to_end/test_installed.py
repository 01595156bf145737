"""The package as somebody gets it who installs it: the wheel, away from the repository."""

import json
import os
import subprocess
import sys
from pathlib import Path

import golden_sample
import pytest

from quasar_mass import __version__
from quasar_mass.core.survey import Survey
from quasar_mass.simulation.simulated_survey import simulate

HOME = Path(__file__).resolve().parents[2]

ARRAYS = """
import json, sys
import quasar_mass as qm
light = sorted({"tensorflow", "keras", "pandas", "numpy"} & set(sys.modules))
from astropy.io import fits
rows = []
model = qm.load()
for path, redshift, ebv in json.loads(sys.argv[1]):
    table = fits.getdata(path, 1)
    ivar = table["ivar"] * ((table["and_mask"] & (1 << 23)) == 0)
    arrays = 10.0 ** table["loglam"].astype(float), table["flux"], ivar
    by_arrays = model.predict(*arrays, redshift=redshift, ebv=ebv)
    by_file = model.predict(qm.read(path))
    rows.append([[mass.LMBH, mass.LMBH_LOW, mass.LMBH_HIGH] for mass in (by_arrays, by_file)])
print(json.dumps({"home": qm.__file__, "imported": light, "rows": rows}))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The wheel, built and installed into a folder of its own."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wheel = [*pip, "wheel", str(HOME), "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run(wheel, check=True, cwd=folder)
    (built,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(folder / "site"), str(built)], check=True, cwd=folder)
    return folder / "site"


def run(site: Path, folder: Path, *arguments: str) -> str:
    """What Python prints with that installation, in a folder where nothing of the repository is."""
    environment = os.environ | {"PYTHONPATH": str(site)}
    command = [sys.executable, "-P", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_commands_are_there(site, tmp_path):
    listed = run(site, tmp_path, "-m", "quasar_mass")
    assert "get-chen-data" in listed
    assert "quasar-analysis" in listed
    for script in ("get-chen-data", "quasar-analysis"):
        assert (site / "bin" / script).exists()
        assert run(site, tmp_path, str(site / "bin" / script), "--version").strip().endswith(__version__)
    assert "nothing there yet" in run(site, tmp_path, str(site / "bin" / "get-chen-data"), "status")


def test_arrays_and_files_get_the_masses_of_the_golden_sample(site, tmp_path):
    survey = Survey(tmp_path / "survey")
    simulate(survey, objects=golden_sample.OBJECTS, seed=golden_sample.SEED, quiet=True)
    _, expected = golden_sample.expected()
    from quasar_mass.spectra.read import read

    spectra = []
    for name in expected["EPOCH"][:4]:
        path = survey.spectrum(*map(int, name.split("-")))
        spectrum = read(path)
        spectra.append((str(path), spectrum.redshift, spectrum.ebv))
    printed = json.loads(run(site, tmp_path, "-c", ARRAYS, json.dumps(spectra)))
    assert Path(printed["home"]).is_relative_to(site)
    assert printed["imported"] == [], "importing the package imports nothing heavy"
    for row, (_, golden) in zip(printed["rows"], expected.iterrows(), strict=False):
        by_arrays, by_file = row
        assert by_arrays == pytest.approx(by_file, abs=1e-5)
        # the table has DR16Q's redshift, the file the pipeline's: the masses differ a little
        assert by_file[0] == pytest.approx(golden["LMBH"], abs=0.05)
