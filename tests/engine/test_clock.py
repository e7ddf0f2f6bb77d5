"""The clock tells a training's start, its steps and its saving apart, and leaves no trace."""

from types import SimpleNamespace

import pytest
import tiny

from labutils.engine import clock
from labutils.training import train


def test_the_measurement_tells_start_steps_and_saving_apart(monkeypatch, tmp_path):
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(clock.time, "perf_counter", lambda: now.seconds)

    def train(config, folder, on_epoch, progress):
        steps, history = config.images // config.batch_size, []
        now.seconds += 5  # loading
        while True:
            seconds = steps * (0.25 if history else 2.0)  # the first epoch is slow
            now.seconds += seconds + 0.125  # saving
            history.append({"seconds": seconds})
            on_epoch(SimpleNamespace(history=history))

    for steps in (8, 3):
        config = tiny.config(images=32 * steps)
        once, step, epoch = clock.training_cost(train, config, tmp_path, 9.0)
        assert (once, step, epoch) == pytest.approx((5 + steps * 1.75, 0.25, 0.125))


def test_an_interrupted_measurement_is_said(monkeypatch, tmp_path, tiny_networks):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    def interrupted(config, folder, on_epoch, progress):
        train(config, folder, images=tiny.images(), on_epoch=interrupt, progress=progress)

    with pytest.raises(clock.MeasurementStopped, match="measurement was stopped"):
        clock.training_cost(interrupted, tiny.config(images=40), tmp_path, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_real_training_is_measured_without_a_trace(tiny_networks, tmp_path, capfd):
    def few(config, folder, on_epoch, progress):
        return train(config, folder, images=tiny.images(), on_epoch=on_epoch, progress=progress)

    cost = clock.training_cost(few, tiny.config(images=40), tmp_path / "not" / "there", 0.1)
    assert cost.once >= 0
    assert cost.step > 0
    assert cost.epoch > 0
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
