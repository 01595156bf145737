"""The command that trains the shipped models: what it refuses before any work is done."""

import pytest

from quasar_mass.cli import best_models
from quasar_mass.core.survey import Survey


def command(verb, survey, here, *more):
    return best_models.main([verb, "--survey", str(survey), "--work", str(here / "work"), *more])


@pytest.mark.parametrize(
    ("verb", "card", "more", "words"),
    [
        ("train", None, (), "holds no survey yet; run: python get_Chen_data.py simulate --survey"),
        ("train", '{"kind": "simulated", "complete": true}', (), "has no tables yet"),
        ("train", '{"kind": "simulated"}', ("--seeds", "3", "4", "3"), "has a seed twice (3 4 3)"),
        ("published", None, (), "holds no survey yet"),
    ],
)
def test_a_survey_or_seeds_that_cannot_be_used_are_one_sentence(tmp_path, capsys, verb, card, more, words):
    survey = Survey(tmp_path / "survey")
    survey.folder.mkdir()
    if card:
        survey.card.write_text(card)
    assert command(verb, survey.folder, tmp_path, *more) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert words in printed.err
    assert printed.err.count("\n") == 1
    assert not (tmp_path / "work").exists()


def test_pre_training_needs_a_simulated_survey(tiny_survey, tmp_path, capsys):
    for path in (tiny_survey.quasars, tiny_survey.spectra):
        path.touch()
    assert command("train", tiny_survey.folder, tmp_path) == 1
    assert "is no simulated survey" in capsys.readouterr().err


@pytest.mark.parametrize("seed", ["-1", "x", str(2**32)])
def test_a_seed_that_is_none_is_wrong_usage(tmp_path, capsys, seed):
    with pytest.raises(SystemExit) as stopped:
        command("train", tmp_path, tmp_path, "--seeds", "1", seed)
    assert stopped.value.code == 2
    assert "must be a whole number from 0 to 4,294,967,295" in capsys.readouterr().err
