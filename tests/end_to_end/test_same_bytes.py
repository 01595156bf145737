"""The same seed gives the same bytes: in another process, with other hashes, and in several processes."""

import os
import subprocess
import sys

import pytest
import whole_job
from killing import contents

from quasar_mass.core.survey import Survey
from quasar_mass.simulation import observing, population
from quasar_mass.simulation.simulated_survey import simulate


def in_a_process_of_its_own(folder, jobs):
    """Do the work where hashes, and so the order of sets, differ."""
    command = [sys.executable, whole_job.__file__, str(folder), str(jobs)]
    environment = os.environ | {"PYTHONHASHSEED": "7", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_all_of_the_work_gives_the_same_bytes_again(tmp_path):
    whole_job.whole_job(tmp_path / "here", jobs=1)
    in_a_process_of_its_own(tmp_path / "there", jobs=2)
    here, there = contents(tmp_path / "here"), contents(tmp_path / "there")
    assert here.keys() == there.keys()
    assert len(here) > 30
    assert {"model.h5", "spectra.parquet", "objects.parquet"} < here.keys()
    assert [name for name in here if here[name] != there[name]] == []


def test_a_quasar_is_simulated_alike_alone_and_in_another_order(tmp_path):
    together, alone = Survey(tmp_path / "together"), Survey(tmp_path / "alone")
    simulate(together, objects=12, seed=9, quiet=True)
    for target in reversed(population.targets(12, 9)):
        observing.simulate_targets(alone, 9, [target])
    expected = contents(together.folder / "spectra")
    assert contents(alone.folder / "spectra") == expected
    assert len(expected) >= 12
