"""What the tests of scores share: held-out digits, a small reference, and what MNIST's test images score."""

import importlib

import pytest
import torch

from labutils.data import Digits, load_mnist
from labutils.quality import Quality, classifier

SCORE = importlib.import_module("labutils.quality.score")  # the module: labutils.quality.score is its function


@pytest.fixture(scope="session")
def held_out():
    return load_mnist("test")


@pytest.fixture(scope="module")
def small_reference(digits, held_out):
    """Scores against 8,000 training images in place of 60,000."""
    chosen = torch.randperm(60_000, generator=torch.Generator().manual_seed(0))[:6_000]  # their order is not random
    chosen = torch.cat([torch.arange(2_000), chosen])  # the first ones are copied by a defect
    few = {"train": Digits(digits.images[chosen], digits.labels[chosen]), "test": held_out}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifier, "REFERENCES", 4_000)
        patch.setattr(SCORE, "load_mnist", lambda split="train": few[split])
        clear()
        yield
    clear()


def clear():
    SCORE.reference.cache_clear()
    SCORE.real_against_real.cache_clear()


@pytest.fixture(scope="session")
def real_row():
    """What `real_against_real()` gives for MNIST with its whole reference."""
    shares = (0.0985, 0.1137, 0.1032, 0.1011, 0.0983, 0.0894, 0.0955, 0.1028, 0.0972, 0.1003)
    return Quality(
        samples=10_000,
        frechet=1.1285,
        kid=5.38,
        kid_sd=12.38,
        density=1.0008,
        coverage=0.9596,
        precision=0.9485,
        recall=0.937,
        shares=shares,
        kl=0.0017,
        confident=0.9861,
        smallest_share=0.0894,
        distinct=1.0,
        memorisation=0.983,
        frechet_2000=2.62,
        coverage_2000=0.5858,
        copied=0.0,
        repeated=0.0,
        ink=1.0145,
        grey=0.5236,
        specks=0.0002,
        always=0,
        never=0,
        placement="",
        errors={"frechet": 0.13, "precision": 0.0021, "coverage": 0.0036},
    )
