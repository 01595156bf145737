"""Lists and tables that name spectra, and the journal of a fetch."""

import json
import re
from dataclasses import asdict

import numpy as np
import pytest
import watch
from astropy.table import Table
from mutations import Case, fits_damage, text_damage

from quasar_mass.core.survey import Survey
from quasar_mass.fetch import manifest
from quasar_mass.predict.inputs import gather


@pytest.mark.parametrize("examples", [25, pytest.param(250, marks=pytest.mark.slow)])
@pytest.mark.parametrize("ending", ["txt", "csv", "ecsv", "fits"])
def test_damaged_lists_and_tables_name_spectra_of_the_survey_or_are_refused(tmp_path, ending, examples):
    survey, path = Survey(tmp_path / "survey"), tmp_path / f"table.{ending}"
    rows = {
        "EPOCH": [f"7666-57339-{n:04d}" for n in range(1, 9)],
        "Z": [1.5 + n / 100 for n in range(8)],
        "OBJECT": list("abcdefgh"),
    }
    if ending == "txt":
        path.write_text("".join(f"{epoch}\n" for epoch in rows["EPOCH"]))
    else:
        Table(rows).write(path, format={"csv": "ascii.csv", "ecsv": "ascii.ecsv", "fits": "fits"}[ending])
    content = path.read_bytes()

    def check(case: Case) -> None:
        path.write_bytes(case.damaged())
        gathered = watch.attempt(lambda: gather([path], survey))
        if gathered is None:
            return
        for request in gathered[0]:
            inside = survey.folder / "spectra" in request.file.parents
            named = re.fullmatch(r"spec-\d{4,5}-\d{5}-\d{4}\.fits", request.file.name)
            # other files are read only where the text names them, or is itself no table
            assert (inside and named) or request.file == path or ending == "txt"
            assert request.redshift is None or not np.isinf(request.redshift)

    watch.fuzz(check, (fits_damage if ending == "fits" else text_damage)(content), examples)


@pytest.mark.parametrize("examples", [60, pytest.param(600, marks=pytest.mark.slow)])
def test_a_damaged_journal_of_a_fetch_names_only_spectra_or_is_refused(tmp_path, examples):
    survey = Survey(tmp_path)
    facts = {"run2d": "v5_13_0", "url": "https://x", "bytes": 9, "sha256": "a", "state": "verified", "reason": ""}
    rows = [manifest.Row(plate=7666, mjd=57339, fiberid=n, **facts) for n in range(1, 6)]
    content = b"".join(json.dumps(asdict(row)).encode() + b"\n" for row in rows)
    _, journal = manifest.paths(survey)
    journal.parent.mkdir()

    def write_again() -> dict:
        rows = manifest.read(survey)
        with manifest.Manifest(survey) as opened:
            opened.select(list(rows))
        return rows

    def check(case: Case) -> None:
        for left in manifest.paths(survey):
            left.unlink(missing_ok=True)
        journal.write_bytes(case.damaged())
        rows = watch.attempt(write_again)
        if rows is None:
            return
        for row in rows.values():
            target = survey.spectrum(*row.spec_id)
            assert target.resolve().is_relative_to((survey.folder / "spectra").resolve())
            assert row.state in manifest.STATES
        assert manifest.read(survey) == rows, "what was read can be written and read again"

    watch.fuzz(check, text_damage(content), examples)
