"""The sums of an epoch: each image counts once, whenever they are read; the step of a broken loss is named."""

import math

import pytest
import torch

from labutils.engine.means import Means, NotFinite, measures


def steps(count: int, broken: int | None = None):
    random = torch.Generator().manual_seed(0)
    for step in range(1, count + 1):
        size = 8 if step < count else 3
        losses = [*torch.rand(2, generator=random)]
        if step == broken:
            losses[1] = torch.tensor(math.inf)
        yield *losses, *(torch.randn(size, 1, generator=random) for _ in range(2))


def summed(device: str, count: int, broken: int | None = None) -> Means:
    means = Means(torch.device(device))
    for step in steps(count, broken):
        means.add(len(step[2]), measures(*step))
    means.read()
    return means


@pytest.mark.parametrize("count", [1, 49, 50, 51, 120])
def test_steps_read_fifty_at_once_give_the_same_bits(count):
    at_once, later = summed("cpu", count), summed("cuda", count)  # what counts is how often it reads, not where
    assert at_once.row(1.0, 1.0) == later.row(1.0, 1.0)
    assert at_once.images == 8 * (count - 1) + 3


def test_each_image_counts_once():
    row, expected = summed("cpu", 20).row(2.0, 1.0), [list(step) for step in steps(20)]
    weights = [len(step[2]) for step in expected]
    mean = sum(w * float(step[0]) for w, step in zip(weights, expected, strict=True)) / sum(weights)
    assert row["d_loss"] == pytest.approx(mean, rel=1e-12)
    right = torch.cat([step[2] > 0 for step in expected]).double().mean()
    assert row["d_accuracy_real"] == pytest.approx(float(right), rel=1e-6)
    assert row["g_loss_last"] == float(expected[-1][1])
    assert row["images_per_second"] == sum(weights) / 2


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("broken", [1, 49, 50, 51, 60])
def test_a_broken_loss_is_found_with_its_step(device, broken):
    with pytest.raises(NotFinite) as found:
        summed(device, 60, broken)
    assert found.value.step == broken
    assert math.isinf(found.value.g_loss)
