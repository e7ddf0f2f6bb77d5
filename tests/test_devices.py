"""What a GPU of NVIDIA or Apple refuses, refused here on a CPU, around one epoch of every row of the study.

Where a CUDA device is present, trainings really run on it.
"""

from dataclasses import replace
from functools import partial

import pytest
import tiny
import torch
from torch.overrides import TorchFunctionMode

from labutils import quality
from labutils.config import TrainConfig
from labutils.engine import capture, layers, machine
from labutils.engine.machine import describe, numerics
from labutils.engine.means import Means
from labutils.losses import LOSSES
from labutils.models import sample
from labutils.runs import load_run
from labutils.study import load_study
from labutils.training import Players, one_epoch, train

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


class OtherDevice(TorchFunctionMode):
    """Refuses what CUDA's autocast refuses and what Apple's GPUs do not have."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, getattr(function, "__name__", "")
        if name == "binary_cross_entropy" and torch.is_autocast_enabled("cpu"):
            raise RuntimeError("binary_cross_entropy is unsafe to autocast")
        if name == "random_" and args[1:] and args[1] < -(2**31):
            raise RuntimeError("random_ over 64 bits does not exist there")
        result = function(*args, **kwargs)
        if isinstance(result, torch.Tensor) and result.dtype in (torch.float64, torch.complex128):
            raise TypeError(f"{name}: float64 does not exist there")
        return result


@pytest.fixture
def elsewhere(monkeypatch):
    """The layers take the way of a GPU, and sums are read as from one: outside of what a device computes."""
    monkeypatch.setattr(layers, "on_cpu", lambda x: False)
    for name in ("__init__", "read", "row"):  # what they do happens on the CPU
        monkeypatch.setattr(Means, name, outside(getattr(Means, name)))


def outside(method):
    def called(*arguments):
        with torch._C.DisableTorchFunction():
            return method(*arguments)

    return called


def step_settings() -> dict[str, TrainConfig]:
    """Of the study's rows those whose steps differ, and each loss, in a small size."""
    small = {"images": 12, "batch_size": 4, "epochs": 1, "seed": 0, "init": "default", "threads": 1, "device": "cpu"}
    configs = {entry.name: replace(entry.config, **small, lr=2e-4, d_lr=None) for entry in load_study().rows}
    configs |= {f"loss {name}": TrainConfig(loss=name, **small) for name in LOSSES}
    return {config: name for name, config in reversed(configs.items())}


SETTINGS = step_settings()


@pytest.mark.thorough
@pytest.mark.parametrize("config", SETTINGS, ids=SETTINGS.values())
def test_a_step_asks_for_nothing_that_another_device_lacks(config, elsewhere):
    machine = describe("cpu", "bfloat16", 1) | {"fused_adam": False}
    config = replace(config, z_dim=4, precision="bfloat16")
    with numerics(machine), OtherDevice():
        players = Players.of(config, machine)
        row = one_epoch(config, players, tiny.images(12), 1, lambda means: None)
        sample(players.generator, torch.randn(4, 4))
    assert row["epoch"] == 1


@pytest.mark.parametrize(
    ("refused", "call"),
    [
        ("unsafe to autocast", lambda: torch.nn.BCELoss()(torch.rand(3), torch.ones(3))),
        ("64 bits", lambda: torch.empty(3, dtype=torch.int64).random_(-(2**63), None)),
        ("float64", lambda: torch.ones(3).double()),
    ],
)
def test_the_refusals_refuse(refused, call):
    with torch.autocast("cpu", torch.bfloat16), OtherDevice(), pytest.raises((RuntimeError, TypeError), match=refused):
        call()


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
@pytest.mark.parametrize("why", ["", "LABUTILS_CAPTURE is 0"])
def test_on_cuda_each_precision_is_captured_and_float32_without_it_is_the_plain_loop(precision, why, monkeypatch):
    monkeypatch.setattr(machine, "choose_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(machine, "choose_precision", lambda name, device: ("float32", "as asked"))
    monkeypatch.setattr(machine, "_name", lambda device: "some GPU")
    monkeypatch.setattr(capture, "why_not", lambda: why)
    found = describe("auto", precision, None)
    assert found["captured"] == (not why)
    assert found["fused_adam"] == found["joint_batch"] == (precision != "float32" or not why)
    assert not found["onednn_products"]


@needs_cuda
@pytest.mark.parametrize("precision", ["float32", "auto"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("model", ["mlp", "dcgan"])
def test_each_loss_trains_on_cuda_and_a_resume_gives_the_same_bits(model, loss, precision, tmp_path):
    settings = {"model": model, "loss": loss, "device": "cuda", "precision": precision, "epochs": 2, "ema": 0.9}
    images = tiny.images(70)  # with a last batch that is smaller

    def stop(run):
        raise KeyboardInterrupt

    go = partial(train, tiny.config(**settings), images=images, progress=False)
    whole = go(tmp_path / "whole")
    go(tmp_path / "halves", on_epoch=stop)
    halves = go(tmp_path / "halves", resume=True)
    assert tiny.untimed(whole.history) == tiny.untimed(halves.history)
    assert tiny.fingerprint(whole.folder) == tiny.fingerprint(halves.folder)
    assert sample(load_run(whole.folder).generator().cuda(), torch.randn(4, 4).cuda()).shape == (4, 1, 28, 28)


@needs_cuda
def test_what_was_trained_on_cuda_is_scored(tmp_path):
    run = train(TrainConfig(epochs=1, images=1280, device="cuda"), tmp_path / "run", progress=False)
    assert quality.score(quality.sample_many(run.generator().cuda(), 2_000)).samples == 2_000


@needs_cuda
@pytest.mark.parametrize("config", SETTINGS, ids=SETTINGS.values())
def test_captured_steps_give_the_bits_of_plain_ones_on_cuda(config, tmp_path, monkeypatch):
    """Of every row of the study: an epoch of ten steps and a smaller one, twice."""

    def plain(step):
        """As `Captured` calls it, with nothing recorded."""

        def call(batch, *numbers, **kind):
            return step(batch, *(torch.full((), number, device=batch.device) for number in numbers), **kind)

        return call

    config = replace(config, device="cuda", precision="auto", images=42, epochs=2)
    go = partial(train, config, images=tiny.images(42), progress=False)
    captured = go(tmp_path / "captured")
    assert captured.config["machine"]["captured"], captured.config["machine"]["why_not_captured"]
    monkeypatch.setattr(capture, "Captured", plain)
    eager = go(tmp_path / "eager")
    assert tiny.untimed(captured.history) == tiny.untimed(eager.history)
    assert tiny.fingerprint(captured.folder) == tiny.fingerprint(eager.folder)
