"""`fetch spectra --reach`: the spectra of all redshifts that `build --reach` takes."""

import shutil

import pytest
import reach_survey
from archive_server import Archive

from quasar_mass.core.errors import QuasarMassError
from quasar_mass.fetch import manifest, run, urls
from quasar_mass.fetch.client import RetryPolicy

HASTY = RetryPolicy(tries=2, backoff=0.002, timeout=(2.0, 2.0))


@pytest.fixture
def archive(tmp_path, make):
    """A survey without spectra, and the content of a server that has them."""
    survey = reach_survey.write(tmp_path / "survey", make)
    shutil.move(survey.folder / "spectra", tmp_path / "served")
    files = {}
    for number in reach_survey.REDSHIFTS:
        spec_id = reach_survey.spectrum(number)
        path = urls.spectrum(*spec_id, "v5_13_0").removeprefix("https://data.sdss.org")
        files[path] = make.spec_path(tmp_path, spec_id).name
    served = {path.name: path.read_bytes() for path in (tmp_path / "served").rglob("*.fits")}
    return survey, lambda path: served.get(files.get(path))


def fetch(survey, server, **options):
    run.fetch("spectra", survey, mirror=server.url, policy=HASTY, quiet=True, say=lambda line: None, **options)
    return [spec_id[0] - 4000 for spec_id in manifest.read(survey)]


def test_spectra_of_all_redshifts_are_fetched_beside_those_of_the_reference(archive):
    survey, content = archive
    with Archive(content) as server:
        assert fetch(survey, server) == [1, 7, 9, 10]
        assert fetch(survey, server, reach=True) == sorted([*reach_survey.TAKEN, 4])
        assert sum(server.asked.values()) == 10, "those that are there are not asked for again"


def test_the_command_that_asks_again_has_the_option(archive):
    survey, content = archive
    bad = urls.spectrum(*reach_survey.spectrum(2), "v5_13_0").removeprefix("https://data.sdss.org")
    broken = Archive(content, fault=lambda request: "status 500" if request.path == bad else None)
    with broken as server, pytest.raises(QuasarMassError) as caught:
        fetch(survey, server, reach=True)
    assert (
        str(caught.value).rstrip(".").endswith(f"fetch spectra --survey {survey.folder} --mirror {server.url} --reach")
    )


def test_damaged_spectra_are_fetched_again_with_the_option_that_they_were_built_with(archive, make, capsys):
    import get_Chen_data

    survey, content = archive
    with Archive(content) as server:
        fetch(survey, server, reach=True)
    path = make.spec_path(survey.folder, reach_survey.spectrum(2))
    path.write_bytes(path.read_bytes()[:5000])
    for more in ([], ["--reach"]):
        command = ["build", "--survey", str(survey.folder), "--step", "1e-3", "--quiet", *more]
        assert get_Chen_data.main(command) == 0
        again = f"fetch spectra --survey {survey.folder} --reach; then build again"
        assert (again in capsys.readouterr().out) == bool(more), "quasar 2 is none of the reference's"
