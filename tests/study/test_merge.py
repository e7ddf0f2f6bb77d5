"""Runs of another machine are taken into a study if they are of the same row, version and images, and counted apart."""

import shutil
from dataclasses import replace

import pytest
from small_study import ROWS, timeless

from labutils import runs
from labutils.course import cli
from labutils.runs import RunError
from labutils.study import Study, load_study, markdown, merge, records, ship, table
from labutils.study.one_run import finished

STUDY = Study((replace(ROWS[0], ship_weights=2), ROWS[1]), 64)
PLACE = "plain-averaged/seed=1"


@pytest.fixture
def other(whole, tmp_path):
    """A study of another machine that is finished, and this machine's, without one of its runs."""
    theirs, ours = (shutil.copytree(whole, tmp_path / name) for name in ("theirs", "ours"))
    shutil.rmtree(ours / PLACE)
    for path in theirs.glob("*/seed=*/config.json"):
        config = runs.read_json(path)
        config["machine"]["system"] = "Elsewhere"
        runs.write_json(path, config)
    return theirs, ours


def test_finished_runs_are_taken_and_others_left(other, whole):
    theirs, ours = other
    before = (ours / "breaks" / "seed=0" / "config.json").read_bytes()
    assert merge(STUDY, theirs, ours) == 1
    assert timeless([r | {"machine": ""} for r in records(ours)]) == timeless(
        [r | {"machine": ""} for r in records(whole)]
    )
    assert (ours / "breaks" / "seed=0" / "config.json").read_bytes() == before
    assert finished(STUDY.rows[0], 1, ours)
    assert not list(ours.glob(".merge*"))
    assert merge(STUDY, theirs, ours) == 0
    assert "| 2 of 1 + 1 (16% to 100%) |" in markdown(table(records(ours)), ("spread",))


def test_what_was_merged_can_be_shipped_with_generators_of_several_seeds(other, tmp_path):
    theirs, ours = other
    merge(STUDY, theirs, ours)
    ship(ours, tmp_path / "shipped")
    first, second = (runs.load_run(tmp_path / "shipped" / "plain-averaged" / f"seed={seed}") for seed in (0, 1))
    assert first.generator(averaged=False)
    assert first.generator()
    assert second.generator()
    assert not (second.folder / "generator.safetensors").exists()  # the average alone


REFUSED = {  # what is changed in the study, or in config.json of the run -> what is said
    "a row that is not in the study": (lambda s: Study(s.rows[1:], 64), {}, r"no row 'Plain, averaged': add it"),
    "other settings": (
        lambda s: Study((replace(s.rows[0], config=replace(s.rows[0].config, lr=0.5)), s.rows[1]), 64),
        {},
        r"seed 0, of .* was trained with other settings, or scored after other epochs",
    ),
    "an epoch that was not scored": (
        lambda s: Study((replace(s.rows[0], measure=(1, 2)), s.rows[1]), 64),
        {},
        r"was trained with other settings, or scored after other epochs",
    ),
    "a seed too many": (
        lambda s: Study((replace(s.rows[0], seeds=1), s.rows[1]), 64),
        {},
        r"the row has 1 seeds here\. Raise `seeds` in the TOML file",
    ),
    "another version": (lambda s: s, {"machine": {"labutils": "0.1"}}, r"was made by labutils 0\.1, this is"),
    "other images": (lambda s: s, {"data": {"sha256": "0" * 64}}, r"was trained on other images than"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_does_not_belong_is_refused_and_nothing_is_taken(why, other):
    theirs, ours = other
    change, parts, said = REFUSED[why]
    path = theirs / PLACE / "config.json"
    config = runs.read_json(path)
    runs.write_json(path, config | {key: config[key] | part for key, part in parts.items()})
    with pytest.raises(RunError, match=said):
        merge(change(STUDY), theirs, ours)
    assert not (ours / PLACE).exists()


def test_an_unfinished_run_is_not_overwritten(other, whole):
    theirs, ours = other
    shutil.copytree(whole / PLACE, ours / PLACE)
    (ours / PLACE / "quality.json").unlink()
    with pytest.raises(RunError, match="holds a run that is not finished, or of other settings: delete it"):
        merge(STUDY, theirs, ours)


def test_an_unfinished_run_is_not_taken(other):
    theirs, ours = other
    (theirs / PLACE / "quality.json").unlink()
    assert merge(STUDY, theirs, ours) == 0


def test_the_command_merges_and_says_how_many(other, capsys):
    theirs, ours = other
    assert cli.main(["study", "--merge", str(theirs), "--folder", str(ours)]) == 2  # the lab's own study has other rows
    assert "This study has no row 'Plain, averaged'" in capsys.readouterr().err
    assert cli.main(["study", "--merge", str(ours / "breaks"), "--folder", str(ours)]) == 2
    assert "is not a study: it has no study.json" in capsys.readouterr().err
    assert cli.main(["study", "--table", "--folder", str(ours)]) == 0
    assert capsys.readouterr().out.rstrip().splitlines()[-1].startswith("Runs: 2 on cpu, ")


def test_a_row_says_of_how_many_seeds_it_ships_generators():
    ships = {row.name: [row.ships(seed) for seed in (0, 3, 4)] for row in load_study().rows}
    assert ships["MLP, rate 1e-3"] == [True, True, False]
    assert ships["MLP, weights_init"] == [True, False, False]
    assert ships["MLP, R1"] == [False, False, False]
