"""A survey with one damaged spectrum: the others come out unchanged."""

import shutil

import numpy as np
import pandas as pd
import pytest
import watch
from hypothesis import strategies as st
from mutations import fits_damage

from quasar_mass.core.survey import Survey
from quasar_mass.tables import survey_tables
from quasar_mass.tables.build.pipeline import build

STEP = 1e-2


def rows(survey: Survey) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    frames, blocks = zip(*survey_tables.iterate_spectra(survey.spectra), strict=True)
    spectra = pd.concat(frames).set_index("EPOCH")
    spectra["flux"] = [row.tobytes() for row in np.concatenate(blocks)]
    return (
        survey_tables.read_quasars(survey.quasars),
        spectra,
        survey_tables.read_rejects(survey.rejects).set_index("EPOCH"),
    )


@pytest.fixture
def survey(_tiny_original, tmp_path) -> Survey:
    return Survey(shutil.copytree(_tiny_original, tmp_path / "survey"))


@pytest.mark.parametrize("examples", [12, pytest.param(200, marks=pytest.mark.slow)])
def test_the_other_spectra_are_the_same_bytes(survey, examples):
    build(survey, step=STEP, quiet=True)
    quasars, spectra, _ = rows(survey)
    files = sorted(survey.folder.rglob("spec-*.fits"))
    originals = [path.read_bytes() for path in files]
    cases = st.sampled_from(range(len(files))).flatmap(lambda n: st.tuples(st.just(n), fits_damage(originals[n])))

    def check(numbered) -> None:
        number, case = numbered
        files[number].write_bytes(case.damaged())
        try:
            watch.attempt("surveys", lambda: build(survey, step=STEP, quiet=True))
            now_quasars, now, rejects = rows(survey)
        finally:
            files[number].write_bytes(originals[number])
        epoch = files[number].stem.removeprefix("spec-")
        assert (epoch in now.index) != (epoch in rejects.index), "a row in spectra.parquet or in rejects.parquet"
        assert set(rejects.index) <= {epoch}
        rest = spectra.drop(epoch)
        pd.testing.assert_frame_equal(now.drop(epoch, errors="ignore"), rest)
        if epoch in now.index:
            flux = np.frombuffer(now.loc[epoch, "flux"], np.float32)
            assert np.isfinite(flux).all()
            assert np.isfinite(now.loc[epoch, "SN"])
        owner = spectra.loc[epoch, "OBJECT"]
        same = [name for name in quasars if name not in ("SPLIT", "N_EPOCHS")]
        pd.testing.assert_frame_equal(now_quasars[same].drop(owner, errors="ignore"), quasars[same].drop(owner))
        watch.note("surveys", f"damaged one {'in the tables' if epoch in now.index else rejects.loc[epoch, 'REASON']}")

    watch.fuzz(check, cases, examples)
