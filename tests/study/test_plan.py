"""The plan adds up what is left; the command line does what it is asked, or says why not."""

import argparse
import shutil
from pathlib import Path
from types import SimpleNamespace

from small_study import FEW, ROWS, SMALL, cheap

from labutils.engine.clock import Cost
from labutils.study import Study, command
from labutils.study import plan as plan_module
from labutils.study.plan import plan


def half_hours(monkeypatch) -> None:
    """Have each of an epoch's two steps take half an hour, and each score."""
    monkeypatch.setattr(plan_module, "load_mnist", lambda: FEW)
    monkeypatch.setattr(plan_module, "training_cost", lambda *arguments, **named: Cost(60.0, 1700.0, 200.0))
    monkeypatch.setattr(plan_module, "_score_seconds", lambda *arguments: 1800.0)


def said(study: Study, folder: Path, *score) -> str:
    return "\n".join(plan(study, folder, 2, study.jobs(), *score))


def study_command(*arguments) -> int:
    """What `python -m labutils study` with these arguments returns."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.main(parser.parse_args([str(argument) for argument in arguments]))


def test_a_plan_goes_on_where_no_score_is_yet(whole, tmp_path, monkeypatch):
    half_hours(monkeypatch)
    folder = shutil.copytree(whole, tmp_path / "study")
    for path in folder.rglob("quality.json"):
        path.unlink()
    assert "hours of one processor" in said(Study(ROWS), folder, cheap)


def test_a_plan_adds_up_epochs_and_scores(whole, tmp_path, monkeypatch):
    half_hours(monkeypatch)
    both = Study(ROWS)
    told = said(both, tmp_path, cheap)
    # nine epochs of an hour; four scores of half an hour in each of two runs, three in the last
    assert "3 runs, of which 0 are finished in" in told
    assert "about 14.5 hours of one processor like those here, 7.2 hours of 2." in told
    assert said(both, whole) == f"3 runs, of which 3 are finished in {whole}."


def test_an_epoch_in_which_the_machine_slept_counts_as_any_other(few, tmp_path, monkeypatch):
    half_hours(monkeypatch)
    slept = [{"seconds": seconds} for seconds in (3600, 3600, 1e7)]
    monkeypatch.setattr(plan_module, "load_run", lambda place: SimpleNamespace(epochs=1, history=slept))
    told = said(Study(ROWS), tmp_path, cheap)  # two epochs are left of each run
    assert "about 11.5 hours of one processor" in told


def test_steps_and_a_score_are_timed_where_nothing_was_run(few, tmp_path, capsys):
    assert plan_module._epoch_seconds(SMALL, tmp_path / "none") > 0
    assert plan_module._score_seconds(SMALL, 64, cheap) > 0
    both = Study(ROWS)
    told = said(both, tmp_path / "none", cheap)
    assert "3 runs, of which 0 are finished" in told
    assert "The others take about 0 minutes of one processor like those here, 0 minutes of 2." in told
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == ""


def test_the_command_line(whole, tmp_path, capsys):
    text = [f'[rows."{row.name}"]\nseeds = {row.seeds}\nmeasure = {list(row.measure)}\n' for row in ROWS]
    common = {"epochs": 3, "batch_size": 32, "z_dim": 4, "threads": 1, "images": 48}
    toml = "samples = 64\n[common]\nprecision='float32'\ndevice='cpu'\n"
    toml += "".join(f"{key} = {value}\n" for key, value in common.items()) + f"{text[0]}ema = 0.9\n{text[1]}lr = 1e29\n"
    (tmp_path / "s.toml").write_text(toml, "utf8")
    folder = shutil.copytree(whole, tmp_path / "study")
    here = (tmp_path / "s.toml", "--folder", folder)
    assert study_command(*here, "--plan") == 0
    assert capsys.readouterr().out.splitlines()[1:] == [f"3 runs, of which 3 are finished in {folder}."]
    assert study_command(*here) == 0
    assert "| Plain, averaged, averaged | 3 | 2 of 2 (16% to 100%) |" in capsys.readouterr().out
    assert study_command(*here, "--table") == 0
    assert study_command(*here, "--ship", tmp_path / "shipped") == 0
    assert f" MB in {tmp_path / 'shipped'}" in capsys.readouterr().out
    assert study_command(*here, "--rows", "Nothing") == 2
    assert "There is no row 'Nothing'" in capsys.readouterr().err
    assert study_command(*here, "--workers", 0) == 2
    assert "--workers is 0; expected a whole number of at least 1, at most 1024." in capsys.readouterr().err
