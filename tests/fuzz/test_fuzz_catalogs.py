"""The two catalogues, damaged: what is read is what the file holds, or nothing."""

import io
import shutil
import warnings

import numpy as np
import pytest
import watch
from astropy.io import fits
from mutations import Case, fits_damage

from quasar_mass.core.survey import Survey
from quasar_mass.tables.catalogs import read_chen, read_dr16q, spectrum_key


@pytest.fixture(scope="module")
def survey(_tiny_original, tmp_path_factory) -> Survey:
    return Survey(shutil.copytree(_tiny_original, tmp_path_factory.mktemp("catalogs") / "survey"))


@pytest.mark.parametrize("examples", [25, pytest.param(500, marks=pytest.mark.slow)])
def test_a_damaged_dr16q_is_read_as_astropy_reads_it_or_refused(survey, tmp_path, examples):
    content, path = survey.dr16q.read_bytes(), tmp_path / "DR16Q_v4.fits"
    chen = read_chen(survey.chen)
    wanted = spectrum_key(chen["Plate"], chen["MJD"], chen["Fiber"])
    asked = set(zip(chen["Plate"].tolist(), chen["MJD"].tolist(), chen["Fiber"].tolist(), strict=True))

    def check(case: Case) -> None:
        changed = case.damaged()
        path.write_bytes(changed)
        catalogue = watch.attempt(lambda: read_dr16q(path, wanted))
        if catalogue is None:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with fits.open(io.BytesIO(changed), memmap=False) as hdus:
                rows = hdus[1].data
        owners = []
        for row in rows:
            one = [np.append(row[key], row[f"{key}_DUPLICATE"]).tolist() for key in ("PLATE", "MJD", "FIBERID")]
            its = [spectrum for spectrum in zip(*one, strict=True) if min(spectrum) > 0]
            if asked & set(its):
                owners.append((row, its))
        assert len(catalogue.objects) == len(owners)
        for (_, found), (row, _) in zip(catalogue.objects.iterrows(), owners, strict=True):
            name = row["SDSS_NAME"]
            assert found["SDSS_NAME"] == (name.decode("latin-1") if isinstance(name, bytes) else str(name)).strip()
            for name in ("RA", "DEC", "Z", "ZWARNING", "BAL_PROB", "SN_MEDIAN_ALL"):
                assert found[name] == row[name] or np.isnan([found[name], row[name]]).all()
        its = [(number, *spectrum) for number, (_, spectra) in enumerate(owners) for spectrum in dict.fromkeys(spectra)]
        assert [tuple(one) for one in catalogue.epochs[["row", "plate", "mjd", "fiberid"]].to_numpy().tolist()] == its

    watch.fuzz(check, fits_damage(content), examples)
