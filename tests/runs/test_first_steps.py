"""The losses of a run's first steps: those of the plain loop, kept through a stop, equal on any number of threads."""

import json
import shutil
from pathlib import Path

import pytest
import tiny
import torch

from labutils import runs
from labutils.losses import discriminator_loss, generator_loss
from labutils.runs import RunError, load_run
from labutils.training import TrainConfig, train, update_discriminator, update_generator

NAME = "first_steps.json"


def tiny_run(folder: Path, **changes):
    """Five batches an epoch of a tiny GAN, so that the first eight steps end within the second."""
    return train(tiny.config(**changes), folder, images=tiny.images(160), resume=True, progress=False)


@pytest.fixture
def whole(tmp_path, tiny_networks):
    return tiny_run(tmp_path / "whole")


def test_they_are_the_losses_of_the_plain_loop(tmp_path):
    """Written down again, with the lab's own MLP in float32."""
    settings = {"images": 8 * 16, "batch_size": 16, "epochs": 1, "precision": "float32", "threads": 1, "device": "cpu"}
    config = TrainConfig(**settings)
    images = tiny.images(8 * 16)
    run = train(config, tmp_path / "run", images=images, progress=False)
    torch.manual_seed(config.seed)
    torch.randn(64, config.z_dim)  # the fixed noise
    generator, discriminator = config.networks()
    g_optimizer, d_optimizer = (
        torch.optim.Adam(n.parameters(), 2e-4, (0.5, 0.999)) for n in (generator, discriminator)
    )
    expected = []
    for batch in torch.randperm(len(images)).split(16):
        fake = generator(torch.randn(16, config.z_dim))
        d_loss, *_ = update_discriminator(discriminator, d_optimizer, images[batch], fake, discriminator_loss)
        expected.append((float(d_loss), float(update_generator(discriminator, g_optimizer, fake, generator_loss))))
    assert run.first_steps == [pytest.approx(pair, rel=1e-4) for pair in expected]


def test_eight_are_kept_over_two_epochs(whole):
    read = load_run(whole.folder).first_steps
    assert read == whole.first_steps
    assert len(set(read)) == 8
    last = {row["epoch"]: (row["d_loss_last"], row["g_loss_last"]) for row in whole.history}
    assert read[4] == last[1]  # of five steps an epoch


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_resume_goes_on_with_them(epochs, whole, tmp_path):
    begun = tiny_run(tmp_path / "again", epochs=epochs)
    assert begun.first_steps == whole.first_steps[: 5 * epochs]
    assert tiny_run(tmp_path / "again").first_steps == whole.first_steps
    assert load_run(tmp_path / "again").first_steps == whole.first_steps


def test_a_stop_within_an_epoch_keeps_those_of_whole_epochs_only(whole, tmp_path, monkeypatch):
    steps = []

    def stop(self, step, losses):
        steps.append(step)
        if step == 7:
            raise KeyboardInterrupt
        noted(self, step, losses)

    noted = runs.Run.note_step
    with monkeypatch.context() as patch:
        patch.setattr(runs.Run, "note_step", stop)
        assert tiny_run(tmp_path / "again").interrupted
    assert steps == [1, 2, 3, 4, 5, 6, 7]
    assert load_run(tmp_path / "again").first_steps == whole.first_steps[:5]
    assert tiny_run(tmp_path / "again").first_steps == whole.first_steps


def test_an_older_run_has_none_and_gets_none(whole, tmp_path):
    """What it did first is gone: later steps must not take that place."""
    old = Path(shutil.copytree(whole.folder, tmp_path / "old"))
    (old / NAME).unlink()
    for path in old.glob("state_*.safetensors"):
        tensors, about = runs.read_tensors(path)
        runs.write_tensors(path, tensors, {key: about[key] for key in ("config", "history")})
    assert load_run(old).first_steps == []
    resumed = tiny_run(old, epochs=4)
    assert resumed.epochs == 4
    assert resumed.first_steps == load_run(old).first_steps == []


def test_a_resume_writes_a_lost_file_again(whole):
    (whole.folder / NAME).unlink()
    assert tiny_run(whole.folder).first_steps == whole.first_steps
    assert load_run(whole.folder).first_steps == whole.first_steps


@pytest.mark.parametrize(
    "steps", ["no list", [1, 2], [[1.0]], [[1.0, "2"]], [[1.0, 2]], [[1.0, None]], [[0.1, 0.2]] * 9, {"a": 1}, None]
)
def test_what_are_no_first_steps_is_refused(steps, whole):
    runs.write_json(whole.folder / NAME, {"steps": steps})
    with pytest.raises(RunError, match=r"first_steps\.json holds no losses of the first steps, 8 pairs"):
        load_run(whole.folder)


def test_a_change_is_noticed(whole):
    path = whole.folder / NAME
    content = json.loads(path.read_text())
    content["steps"][0][0] += 1
    path.write_text(json.dumps(content, indent=2) + "\n")
    with pytest.raises(RunError, match=r"first_steps\.json was changed after it was written"):
        load_run(whole.folder)


def test_they_are_equal_on_any_number_of_threads(tmp_path):
    """The lab's own MLP; each of its products is summed in one order, however many threads share the rows."""
    settings = {"images": 8 * 128, "epochs": 1, "precision": "float32", "device": "cpu", "seed": 7}
    found = [
        train(TrainConfig(**settings, threads=threads), tmp_path / str(threads), progress=False).first_steps
        for threads in (1, 2)
    ]
    assert len(found[0]) == 8
    assert found[0] == found[1]


def test_another_seed_has_others(tmp_path, whole):
    assert not set(tiny_run(tmp_path / "other", seed=1).first_steps) & set(whole.first_steps)
