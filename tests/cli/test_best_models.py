"""The shipped models' command: what it refuses before any work is done."""

import pytest

from quasar_mass.cli import best_models
from quasar_mass.core.survey import Survey


def command(verb, survey, here, *more):
    return best_models.main([verb, "--survey", str(survey), "--work", str(here / "work"), *more])


@pytest.mark.parametrize(
    ("folder", "card", "more", "words"),
    [
        ("none", None, (), "expected a simulated survey, got no such folder; run: python get_Chen_data.py simulate"),
        ("", None, (), "got kind sdss"),
        ("", '{"kind": "simulated"}', (), "spectra.parquet: expected a table, got no such file"),
        ("", '{"kind": "simulated"}', ("--seeds", "3", "4", "3"), "expected seeds that differ, got 3 4 3"),
    ],
)
def test_a_survey_or_seeds_that_cannot_be_are_one_sentence(tmp_path, capsys, folder, card, more, words):
    survey = Survey(tmp_path / "survey")
    survey.folder.mkdir()
    if card:
        survey.card.write_text(card)
    assert command("train", survey.folder / folder, tmp_path, *more) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert words in printed.err
    assert printed.err.count("\n") == 1
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("seed", ["-1", "x", str(2**32)])
def test_a_seed_that_is_none_is_wrong_usage(tmp_path, capsys, seed):
    with pytest.raises(SystemExit) as stopped:
        command("train", tmp_path, tmp_path, "--seeds", "1", seed)
    assert stopped.value.code == 2
    assert "expected a whole number from 0 to 4,294,967,295" in capsys.readouterr().err


def test_the_published_recipe_needs_tables(tmp_path, capsys):
    assert command("published", tmp_path, tmp_path) == 1
    assert "spectra.parquet: expected a table, got no such file" in capsys.readouterr().err
