"""What `run` says before it starts: the minutes that stand in the notebooks, scaled to this machine."""

import os

import pytest
import small_lab

from labutils.course import minutes
from labutils.course.lab import execute_all

SAID = {"05_training": 8, "06_dcgan": 5, "07_stable_gans": 5}
QUICK, FULL = {"mlp": 4.0, "dcgan": 2.0}, {"mlp": 20.0, "dcgan": 68.0}


@pytest.fixture
def paths(tmp_path, monkeypatch):
    """Three notebooks that say their minutes, and a clock that finds this machine as fast as the reference."""
    monkeypatch.setattr(minutes, "REFERENCE", QUICK)
    monkeypatch.setattr(minutes, "_clock", lambda environment: {"quick": QUICK, "full": FULL})
    prose = {name: f"# {name}\n\n**Minutes:** {count} on a 2-core laptop" for name, count in SAID.items()}
    root = small_lab.build(tmp_path, {name: [text, "1"] for name, text in prose.items()} | {"99_own": ["# Own", "1"]})
    return sorted((root / "notebooks").iterdir())


def test_the_minutes_are_those_that_stand_there(paths):
    assert minutes.predicted(paths, "quick", {}) == "About 19 minutes here, preset quick."  # a minute for one's own
    assert minutes.predicted(paths[:1], "quick", {}) == "About 8 minutes here, preset quick."


def test_half_as_fast_takes_twice_as_long(paths, monkeypatch):
    monkeypatch.setattr(minutes, "_clock", lambda environment: {"quick": {"mlp": 9.0, "dcgan": 3.0}})
    assert minutes.predicted(paths, "quick", {}) == "About 38 minutes here, preset quick."


def test_other_presets_train_longer_or_hardly(paths):
    assert minutes.predicted(paths, "full", {}) == "At least 1.7 hours here, preset full."
    assert minutes.predicted(paths, "smoke", {}) == "About 2 minutes here, preset smoke."


def test_no_promise_where_nothing_is_known(paths, monkeypatch):
    assert minutes.predicted(paths[-1:], "quick", {}) == ""
    monkeypatch.setattr(minutes, "_clock", lambda environment: {})
    assert minutes.predicted(paths, "quick", {}) == ""


def test_a_clock_that_fails_is_no_error(monkeypatch):
    assert minutes._clock(os.environ | {"LABUTILS_PRESET": "huge", "PYTHONPATH": "", "LABUTILS_RUNS": "\0"}) == {}
    monkeypatch.setattr(minutes, "CLOCK", "print('no JSON')")
    assert minutes._clock(dict(os.environ)) == {}
    monkeypatch.setattr(minutes, "CLOCK", "print('{\"quick\": 1}')")
    assert minutes._clock(dict(os.environ)) == {"quick": 1}


def test_run_says_it_before_it_starts(paths, capsys):
    assert execute_all(["05"], "quick", root=paths[0].parents[1]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "About 8 minutes here, preset quick."
