"""One run of a study comes out the same whenever its process is killed, and a bad end is a result too."""

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import killing
import pytest
import small_study
import tiny
import torch
from small_study import ROWS, cheap, timeless

from labutils import quality, runs
from labutils.engine.machine import numerics
from labutils.runs import RunError
from labutils.study import Entry, Study, one_run, records, run_one, table, workers
from labutils.study.one_run import SCORE_SEED, finished
from labutils.study.rows import write_study


def test_what_is_kept_of_a_run(whole):
    plain = json.loads((whole / "plain-averaged" / "seed=1" / "quality.json").read_text())
    assert [(point["epoch"], point["averaged"]) for point in plain["scores"]] == [
        (1, True),
        (1, False),
        (3, True),
        (3, False),
    ]
    run = runs.load_run(whole / "plain-averaged" / "seed=1")
    assert plain["scores"][2]["cpu_seconds"] == sum(epoch["cpu_seconds"] for epoch in run.history)
    assert plain["scores"][2]["frechet"] == cheap(run.generator(), 64, SCORE_SEED + 1)["frechet"]
    assert plain["scores"][3]["frechet"] == cheap(run.generator(averaged=False), 64, SCORE_SEED + 1)["frechet"]
    assert plain["generator_parameters"] == 4 * 784 + 784


def test_a_run_that_diverges_is_a_result(whole):
    kept = json.loads((whole / "breaks" / "seed=0" / "quality.json").read_text())
    assert kept["diverged"].startswith(("The loss became", "A weight became"))
    assert str(whole) not in kept["diverged"]
    lines = table([record for record in records(whole) if record["row"] == "Breaks"])
    assert [(line["epoch"], line["seeds"], line["diverged"]) for line in lines] == [(1, 1, 1), (2, 1, 1), (3, 1, 1)]


def test_another_config_in_the_folder_is_told(whole, tmp_path, few):
    shutil.copytree(whole / "breaks", tmp_path / "breaks")
    other = Entry("Breaks", tiny.config(images=48, lr=1e28))
    assert not finished(other, 0, tmp_path)
    with pytest.raises(RunError, match=r"holds another run: lr is 1e\+29 there, 1e\+28 here"):
        run_one(other, 0, tmp_path, 64, cheap)
    fewer = Entry("Plain, averaged", tiny.config(images=48, ema=0.9, epochs=2))
    shutil.copytree(whole / "plain-averaged", tmp_path / "plain-averaged")
    with pytest.raises(RunError, match=r"has 3 epochs and no score after 2: delete it"):
        run_one(fewer, 0, tmp_path, 64, cheap)


def test_more_epochs_go_on_from_the_last(whole, tmp_path, few):
    shutil.copytree(whole / "plain-averaged", tmp_path / "plain-averaged")
    longer = Entry("Plain, averaged", tiny.config(images=48, ema=0.9, epochs=4), measure=(1, 2))
    run_one(longer, 0, tmp_path, 64, cheap)
    scores = json.loads((tmp_path / "plain-averaged" / "seed=0" / "quality.json").read_text())["scores"]
    assert [point["epoch"] for point in scores[::2]] == [1, 3, 4]  # epoch 2 is past, and its generator with it


def test_a_finished_run_is_left_as_it_is(whole, tmp_path, few):
    for row in ROWS:
        shutil.copytree(whole / row.slug, tmp_path / row.slug)
        run_one(row, 0, tmp_path, 64, cheap)
        assert runs.read_json(row.place(tmp_path, 0) / "quality.json") == runs.read_json(
            row.place(whole, 0) / "quality.json"
        )


@pytest.mark.thorough
def test_a_run_with_its_real_score(tmp_path):
    row = Entry("A", tiny.config(images=64, epochs=1))
    run_one(row, 0, tmp_path, 2_000)
    (point,) = runs.read_json(tmp_path / "a" / "seed=0" / "quality.json")["scores"]
    made = {key: point[key] for key in quality.Quality.__dataclass_fields__ if key in point}
    run = runs.load_run(tmp_path / "a" / "seed=0")
    with numerics(run.config["machine"]):  # the run's number of threads: another one adds up in another order
        assert quality.Quality.from_dict(made) == quality.score(quality.sample_many(run.generator(), 2_000, SCORE_SEED))
    assert made["frechet"] > 100  # one epoch on 64 images


def kill_at_random(folder: Path) -> dict:
    """Kill a run at random instants until one ends by itself."""
    small_study.install()
    row = Entry("A", tiny.config(images=48, ema=0.9, epochs=5), measure=(1, 3))
    run_one(row, 0, folder / "first", 64, cheap)  # PyTorch imports and builds much at its first training
    whole = killing.ended(killing.in_child(lambda: run_one(row, 0, folder / "whole", 64, cheap)))
    # going on writes six files, an epoch seven more
    killed = killing.at_random(lambda: run_one(row, 0, folder / "killed", 64, cheap), random.Random(0), 12, 0.01)
    return {"whole": whole} | killed


def kill_at_each_rename(folder: Path) -> list[str]:
    """Kill a run before a file is put in its place, another before the next, and so on; let each end then.

    The first seven are those of `train` before any epoch: tests/runs/ kills it there.
    """
    small_study.install()
    row = Entry("A", tiny.config(images=48, epochs=2), measure=(1,))
    run_one(row, 0, folder / "first", 64, cheap)  # PyTorch imports and builds much at its first training
    return killing.at_each_operation(
        lambda target: run_one(row, 0, target, 64, cheap), folder, renames_only=True, first=8
    )


def scores(folder: Path) -> list[dict]:
    return timeless(runs.read_json(folder / "a" / "seed=0" / "quality.json")["scores"])


@pytest.mark.thorough
@killing.needs_fork
def test_killed_at_random_instants(tmp_path):
    found = killing.script(kill_at_random, tmp_path)
    assert found["whole"] == found["outcomes"][-1] == "finished"
    assert set(found["outcomes"][:-1]) == {"killed"}
    assert len(found["outcomes"]) > 4
    assert scores(tmp_path / "killed") == scores(tmp_path / "whole")
    place = Path("a") / "seed=0"
    assert tiny.fingerprint(tmp_path / "killed" / place) == tiny.fingerprint(tmp_path / "whole" / place)


@pytest.mark.thorough
@killing.needs_fork
def test_killed_before_each_rename(tmp_path):
    outcomes = killing.script(kill_at_each_rename, tmp_path)
    assert set(outcomes) == {"finished"}
    assert len(outcomes) > 2 * 7 + 2  # seven files an epoch; two of scores
    for number in range(8, 7 + len(outcomes)):
        assert scores(tmp_path / f"{number:03d}") == scores(tmp_path / "whole"), f"killed before rename {number}"


# Precision: what is asked for, and what the hardware has

ASKED = Entry("A", tiny.config(images=48, epochs=2, precision="bfloat16"), seeds=1, measure=(1,))


@pytest.fixture
def bfloat16(monkeypatch):
    """A function that says whether the hardware has it."""

    def has(it: bool) -> None:
        found = ("bfloat16", "has it") if it else ("float32", "this cpu has no bfloat16 arithmetic")
        monkeypatch.setattr(one_run, "choose_precision", lambda name, device: found)

    return has


def test_where_there_is_no_bfloat16_a_run_is_trained_in_float32_and_says_so(tmp_path, few, bfloat16):
    bfloat16(False)
    write_study(Study((ASKED,), 64), tmp_path)
    run_one(ASKED, 0, tmp_path, 64, cheap)
    run = runs.load_run(tmp_path / "a" / "seed=0")
    assert (run.config["train"]["precision"], run.config["machine"]["precision"]) == ("float32", "float32")
    assert [record["config"]["precision"] for record in records(tmp_path)] == ["float32", "float32"]
    assert finished(ASKED, 0, tmp_path)
    plain = Entry("Plain", tiny.config(images=48, epochs=2), seeds=1)
    run_one(plain, 0, tmp_path, 64, cheap)
    assert tiny.untimed(runs.load_run(tmp_path / "plain" / "seed=0").history) == tiny.untimed(run.history)


def test_a_run_goes_on_in_the_precision_in_which_it_was_begun(tmp_path, few, bfloat16):
    first = replace(ASKED, config=replace(ASKED.config, epochs=1))
    bfloat16(False)
    run_one(first, 0, tmp_path / "here", 64, cheap)
    bfloat16(True)
    run_one(first, 0, tmp_path / "there", 64, cheap)
    run_one(ASKED, 0, tmp_path / "here", 64, cheap)
    run = runs.load_run(tmp_path / "here" / "a" / "seed=0")
    assert (run.epochs, run.config["train"]["precision"]) == (2, "float32")
    bfloat16(False)
    assert finished(first, 0, tmp_path / "there")  # nothing is left of it that would be slow
    with pytest.raises(
        RunError, match=r"was begun in bfloat16, and this cpu has no bfloat16 arithmetic: to go on takes"
    ):
        run_one(ASKED, 0, tmp_path / "there", 64, cheap)
    assert runs.load_run(tmp_path / "there" / "a" / "seed=0").config["train"]["precision"] == "bfloat16"


def test_float32_that_was_asked_for_stays(whole, bfloat16):
    bfloat16(True)
    bfloat = Entry("Plain, averaged", replace(ROWS[0].config, precision="bfloat16"))
    assert one_run.trained_here(ROWS[0].config, whole) == ROWS[0].config
    assert finished(bfloat, 0, whole)  # what was trained in float32 where there is no bfloat16 is the row's run


# Device: a GPU where there is one


def test_on_a_gpu_a_run_of_the_cpu_is_begun_there_and_what_has_begun_stays_where_it_was(whole, monkeypatch):
    asked, place = ROWS[0].config, whole / "plain-averaged" / "seed=0"
    assert asked.device == runs.load_run(place).config["train"]["device"] == "cpu"
    assert one_run.trained_here(asked, whole / "none").device == "cpu"
    monkeypatch.setattr(one_run, "choose_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(workers, "choose_device", lambda: torch.device("cuda"))
    assert one_run.trained_here(asked, place) == asked
    there = one_run.trained_here(asked, whole / "none")
    assert there == replace(asked, device="cuda")
    assert one_run.as_begun(asked, vars(there)) == there  # so it is a run of this row
    assert 1 <= workers.at_once() <= workers.ON_A_GPU
    monkeypatch.setattr(one_run, "read_json", lambda path: {"train": {"device": "cuda", "precision": "bfloat16"}})
    monkeypatch.setattr(one_run, "choose_device", lambda: torch.device("cpu"))
    assert one_run.trained_here(asked, place).device == "cuda"  # `train` says then that it goes on elsewhere
