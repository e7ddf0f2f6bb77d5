"""A captured step: which calls are recorded and replayed, looked at without a GPU; on one, that it gives the same."""

import contextlib
import subprocess
from functools import partial
from types import SimpleNamespace

import pytest
import tiny
import torch

from labutils.engine import capture
from labutils.engine.capture import EAGER, FAR, Captured, trial
from labutils.engine.machine import describe, numerics
from labutils.training import Players, one_epoch, one_step

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


class Graph:
    """What CUDA's graph does, on a CPU: inside `recording` operations only leave their names, a replay does them."""

    def __init__(self):
        self.again, self.output = None, torch.zeros(6)

    def replay(self):
        self.output[:] = self.again()


@pytest.fixture
def as_on_cuda(monkeypatch):
    """Captured records with `Graph`; gives the list of what happened."""
    happened = []

    def aside(self, tensors, kind):
        happened.append("eager")
        return self.step(*tensors, **kind)

    def record(self, tensors, kind):
        happened.append("record")
        graph, inputs = Graph(), [tensor.clone() for tensor in tensors]
        graph.again = lambda: self.step(*inputs, **kind)
        return graph, inputs, graph.output

    monkeypatch.setattr(Captured, "_aside", aside)
    monkeypatch.setattr(Captured, "_record", record)
    return happened


def test_each_kind_and_shape_is_recorded_once_after_some_plain_calls(as_on_cuda):
    calls = []

    def step(x, *, both):
        calls.append((len(x), both))
        return x.sum()

    captured = Captured(step)
    outputs = [captured(torch.full((4,), float(i)), both=False) for i in range(EAGER + 3)]
    assert as_on_cuda == ["eager"] * EAGER + ["record"]
    assert [float(out.max()) for out in outputs] == [4.0 * i for i in range(EAGER + 3)]  # each its own
    captured(torch.ones(4), both=True)
    captured(torch.ones(3), both=False)
    assert as_on_cuda == ["eager"] * EAGER + ["record"] + ["eager"] * 2
    assert len(calls) == EAGER + 5  # none was left out, none done twice


def test_the_trial_finds_a_step_that_is_left_out_or_done_twice(as_on_cuda):
    class Forgets(Captured):
        def __call__(self, *tensors, **kind):
            self.calls = getattr(self, "calls", 0) + 1
            return torch.zeros(()) if self.calls == 6 else super().__call__(*tensors, **kind)

    class Repeats(Captured):
        def _record(self, tensors, kind):
            self.step(*tensors, **kind)
            return super()._record(tensors, kind)

    assert trial("cpu") == 0
    assert trial("cpu", Forgets) > FAR
    assert trial("cpu", Repeats) > FAR


LAZY = {"r1": 1, "penalty_every": 3, "anneal": 2, "ema": 0.9}


@pytest.mark.thorough
@pytest.mark.parametrize("settings", [{}, {"model": "dcgan"}, {"d_steps": 2, "clip": 0.01}, LAZY])
def test_an_epoch_of_captured_steps_is_the_same_epoch(settings, as_on_cuda):
    """With a last batch that is smaller; decay and rate are then tensors, whose last bit may differ."""
    config, images, found = tiny.config(**settings, batch_size=4), tiny.images(30), []
    for captures in (False, True):
        machine = describe("cpu", "float32", 1)
        with numerics(machine):
            torch.manual_seed(0)
            players = Players.of(config, machine)
            if captures:
                players.captured = Captured(partial(one_step, config, players, images))
            rows = [one_epoch(config, players, images, epoch, lambda means: None) for epoch in (1, 2)]
        found.append((tiny.untimed(rows), [p for network in players.networks().values() for p in network.parameters()]))
    assert "record" in as_on_cuda
    assert found[0][0] == found[1][0]
    for plain, captured in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(plain, captured, atol=1e-7 if "ema" in settings else 0, rtol=0)


@pytest.mark.parametrize(
    ("done", "said"),
    [
        (lambda *a, **k: SimpleNamespace(returncode=0, stderr=""), ""),
        (lambda *a, **k: SimpleNamespace(returncode=1, stderr="Traceback\nRuntimeError: x"), "failed: RuntimeError: x"),
        (lambda *a, **k: SimpleNamespace(returncode=-11, stderr=""), "failed: no word"),
    ],
)
def test_a_trial_in_another_process_decides(done, said, monkeypatch):
    monkeypatch.setattr(capture.subprocess, "run", done)
    capture.why_not.cache_clear()
    with contextlib.closing(SimpleNamespace(close=capture.why_not.cache_clear)):
        assert said in capture.why_not()
        assert bool(capture.why_not()) == bool(said)


def test_a_trial_that_hangs_is_a_sentence(monkeypatch):
    def hang(*arguments, **settings):
        raise subprocess.TimeoutExpired("python", 120)

    monkeypatch.setattr(capture.subprocess, "run", hang)
    capture.why_not.cache_clear()
    with contextlib.closing(SimpleNamespace(close=capture.why_not.cache_clear)):
        assert capture.why_not() == "the trial did not run (TimeoutExpired)"


@needs_cuda
def test_captured_steps_give_what_plain_steps_give():
    assert trial() <= FAR
    assert capture.why_not() == ""
