"""A score is repeatable, goes through JSON, knows real images, and refuses in a sentence what cannot be scored."""

import json
import math

import pytest
import torch

from labutils import models, quality
from labutils.quality import Quality, sample_many, score

N = 2_000  # samples; the reference is of 8,000 training images in place of 60,000

pytestmark = pytest.mark.usefixtures("small_reference")


@pytest.fixture(scope="module")
def real(small_reference, held_out):
    return score(held_out.images[:N])


@pytest.mark.thorough
def test_all_real_test_images_score_near_what_they_do_with_the_whole_reference(real_row):
    real = quality.real_against_real()
    for name in ("precision", "density", "recall", "memorisation"):
        assert getattr(real, name) == pytest.approx(getattr(real_row, name), abs=0.03)
    for name in ("samples", "confident", "shares", "distinct"):  # for which the reference does not matter
        assert getattr(real, name) == pytest.approx(getattr(real_row, name), abs=0.001)
    assert real.coverage == pytest.approx(real.expected_coverage, abs=0.02)
    assert real.memorisation == pytest.approx(1, abs=0.03)
    assert real.frechet < 2.5
    assert "No sign of collapse" in quality.sentences(quality.verdict(real, real_row))
    assert quality.real_against_real() is real


def test_expected_coverage_is_what_equal_distributions_reach():
    random = torch.Generator().manual_seed(0)
    real, other = torch.randn(4_000, 8, generator=random), torch.randn(N, 8, generator=random)
    nothing = dict.fromkeys(Quality.__dataclass_fields__, 0)
    for count in (4_000, 1_000):
        expected = Quality(**nothing | {"samples": N, "references": count}).expected_coverage
        assert quality.neighbourhoods(other, real[:count])["coverage"] == pytest.approx(expected, abs=0.02)


def test_memorisation_is_by_distances_of_the_same_digit(held_out):
    ones = held_out.images[held_out.labels == 1]
    assert score(ones.repeat(2, 1, 1, 1)).memorisation == pytest.approx(1, abs=0.1)  # 0.4 against all digits


@pytest.mark.thorough
def test_a_score_is_repeatable_and_leaves_the_random_state(real, held_out):
    generator, threads = models.build("mlp")[0].train(), torch.get_num_threads()
    before = torch.get_rng_state()
    assert score(held_out.images[:N]) == real
    assert torch.equal(sample_many(generator, 50, seed=3), sample_many(generator, 50, seed=3))
    assert not torch.equal(sample_many(generator, 50, seed=3), sample_many(generator, 50, seed=4))
    assert torch.equal(torch.get_rng_state(), before)
    assert generator.training
    try:
        torch.set_num_threads(3 - min(threads, 2))
        other = score(held_out.images[:N])
    finally:
        torch.set_num_threads(threads)
    for name, value in other.to_dict().items():
        expected = getattr(real, name)
        same = (
            expected if isinstance(expected, str) or expected is None else pytest.approx(expected, rel=1e-4, abs=1e-3)
        )
        assert value == same, name


def test_a_quality_goes_through_json(real):
    assert Quality.from_dict(json.loads(json.dumps(real.to_dict(), allow_nan=False))) == real
    assert real.references == 4_000


def test_records_made_before_the_number_of_references_was_kept_read_on(real_row):
    assert "references" not in real_row.to_dict()
    assert Quality.from_dict(real_row.to_dict()).references == 10_000


def broken(images: torch.Tensor, value: float) -> torch.Tensor:
    images = images.clone()
    images[7, 0, 3, 3] = value
    return images


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda x: x[:1999], r"1,999 images are too few to measure variety \(10,000 is usual\); .* N at least 2,000"),
        (lambda x: (x + 1) / 2, r"looks like \[0, 1\].*images \* 2 - 1"),
        (lambda x: 1 - (x + 1) / 2, r"looks like \[0, 1\]"),
        (lambda x: (x + 1) * 127.5, r"lie in \[0, 255\]; expected \[-1, 1\]"),
        (lambda x: x * 1.01, r"lie in \[-1.01, 1.01\]"),
        (lambda x: broken(x, math.nan), r"1 of 2,000 images hold NaN .* training diverged"),
        (lambda x: broken(x, math.inf), r"1 of 2,000 images hold NaN or infinity"),
        (lambda x: x[:, 0], r"shape \(2000, 28, 28\)"),
        (lambda x: x.flatten(1), r"shape \(2000, 784\).*reshape"),
        (lambda x: ((x + 1) * 127.5).to(torch.uint8), r"torch.uint8; .*labutils.data.scale"),
        (lambda x: x.numpy(), "of type ndarray; expected a float tensor"),
    ],
)
def test_what_cannot_be_scored_is_refused_in_a_sentence(held_out, spoil, said):
    with pytest.raises(ValueError, match=said):
        score(spoil(held_out.images[:N]))


@pytest.mark.parametrize("count", [1e4, 0, -1, "100", None])
def test_a_count_that_is_none_gets_a_sentence(count):
    with pytest.raises(ValueError, match=r"count is .*; expected a whole number of at least 1"):
        quality.sample_many(None, count)
