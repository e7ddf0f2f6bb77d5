"""A training that is killed, at any instant, goes on to the same bits."""

import random
import subprocess
import time
from pathlib import Path

import killing
import pytest
import tiny

from labutils import runs
from labutils.models import MODELS
from labutils.training import train


def kill_at_random(folder: Path, precision: str, images: int, epochs: int) -> dict:
    """Train with the lab's own MLP, three steps an epoch; kill it at random instants until it once ends by itself."""
    settings = {"epochs": epochs, "batch_size": images // 2, "precision": precision, "z_dim": 100}

    def training(name: str, **changes):
        config = tiny.config(**settings | changes)
        train(config, folder / name, images=tiny.images(images + 2), resume=True, progress=False)

    training("first", epochs=1)
    whole = killing.ended(killing.in_child(lambda: training("whole")))
    # going on writes six files, an epoch seven more: a third of ten are killed when another epoch is safe
    return {"whole": whole} | killing.at_random(lambda: training("killed"), random.Random(precision), 10, 0.2)


def kill_at_each_operation(folder: Path) -> list[str]:
    """Train a tiny GAN; every second one goes on from a first epoch, the others begin."""
    MODELS["mlp"] = tiny.NETWORKS
    settings = {"images": tiny.images(), "resume": True, "progress": False}

    def interrupt(run):
        raise KeyboardInterrupt

    begun = train(tiny.config(epochs=2), folder / "begun", on_epoch=interrupt, **settings).folder
    return killing.at_each_operation(lambda target: train(tiny.config(epochs=2), target, **settings), folder, begun)


def hold(folder: Path) -> None:
    """Train for ever, and say so after the first epoch."""
    MODELS["mlp"] = tiny.NETWORKS
    train(
        tiny.config(), folder, images=tiny.images(), on_epoch=lambda run: print("here", flush=True) or time.sleep(600)
    )


@pytest.mark.thorough
@killing.needs_fork
@pytest.mark.parametrize(
    ("precision", "images", "epochs", "kills"),
    [("float32", 128, 6, 10), ("bfloat16", 4, 4, 3)],  # few images: hardware without bfloat16 takes long for it
)
def test_killed_at_random_instants(precision, images, epochs, kills, tmp_path):
    found = killing.script(kill_at_random, tmp_path, precision, images, epochs)
    assert found["whole"] == found["outcomes"][-1] == "finished"
    assert set(found["outcomes"][:-1]) == {"killed"}
    assert len(found["outcomes"]) > kills
    assert found["in a save"] >= 1
    assert tiny.fingerprint(tmp_path / "killed") == tiny.fingerprint(tmp_path / "whole")


@pytest.mark.thorough
@killing.needs_fork
def test_killed_at_each_file_operation(tmp_path):
    outcomes = killing.script(kill_at_each_operation, tmp_path)
    assert set(outcomes) == {"finished"}
    assert len(outcomes) > 11 * 5  # what is read, then a save: two writes, fsync, rename, fsync of the folder each
    whole = tiny.fingerprint(tmp_path / "whole")
    for number in range(1, len(outcomes)):
        assert tiny.fingerprint(tmp_path / f"{number:03d}") == whole, f"killed at file operation {number}"


@pytest.mark.thorough
def test_one_writer_and_no_stale_lock(tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS, "mlp", tiny.NETWORKS)
    again = {"folder": tmp_path / "run", "images": tiny.images(), "resume": True, "progress": False}
    with subprocess.Popen(killing.command(hold, again["folder"]), stdout=subprocess.PIPE, text=True) as other:
        try:
            assert any("here" in line for line in other.stdout)
            with pytest.raises(runs.RunError, match=r"Another training is writing .*run; wait for it"):
                train(tiny.config(), **again)
        finally:
            other.kill()
    assert train(tiny.config(), **again).epochs == 3
