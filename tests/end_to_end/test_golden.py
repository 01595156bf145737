"""The shipped model's masses of a committed sample: the same with every version and backend, to 1e-4 dex."""

import importlib.util
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import golden_sample
import numpy as np
import pandas as pd
import pytest

from quasar_mass.predict.inputs import SHIPPED_MODEL

TESTS = Path(__file__).resolve().parents[1]
TOLERANCE = 1e-4  # dex
RENEW = "the shipped model has changed: run .venv/bin/python tests/golden_sample.py and look at the differences"
NUMBERS = ["LMBH", "LMBH_LOW", "LMBH_HIGH"]


def predicted_with(backend):
    """The model's masses of the sample, in this process or in one of its own with another backend."""
    if backend == "here":
        return golden_sample.predicted(SHIPPED_MODEL)
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed: pip install -r requirements-test.txt")
    code = (
        "import sys; sys.path[:0] = sys.argv[1:3]\n"
        "import golden_sample\n"
        "from quasar_mass.predict.inputs import SHIPPED_MODEL\n"
        "name, table = golden_sample.predicted(SHIPPED_MODEL)\n"
        "print(name); print(table.to_csv(index=False))"
    )
    environment = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", code, str(TESTS), str(TESTS.parent)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    name, _, table = done.stdout.partition("\n")
    return name, pd.read_csv(StringIO(table), keep_default_na=False)


@pytest.mark.parametrize("backend", ["here", pytest.param("jax", marks=pytest.mark.slow)])
def test_the_shipped_model_gives_the_committed_masses(backend):
    expected_name, expected = golden_sample.expected()
    name, table = predicted_with(backend)
    assert name == expected_name, RENEW
    assert table["EPOCH"].tolist() == expected["EPOCH"].tolist()
    difference = (table[NUMBERS] - expected[NUMBERS]).abs().max()
    print(f"\nlargest differences with {backend}, dex: {difference.to_dict()}")  # with pytest -s
    assert (difference < TOLERANCE).all()
    assert table["FLAGS"].tolist() == expected["FLAGS"].tolist()


def test_the_sample_can_tell_two_models_apart():
    _, expected = golden_sample.expected()
    assert len(expected) >= 20
    assert np.ptp(expected["LMBH"]) > 1.0
    assert (expected["LMBH_LOW"] < expected["LMBH_HIGH"]).all()
    assert {"", "broad absorption"} <= set(expected["FLAGS"])
