"""Each known fault moves the number that is meant to see it, and the verdict names it; so it does of generators."""

import importlib
import inspect
import math
import re

import pytest
import torch

from labutils import models, quality, runs
from labutils.quality import pixels, sample_many, score

pytestmark = pytest.mark.thorough

SCORE = importlib.import_module("labutils.quality.score")
N = 2_000  # samples; the reference is of 8,000 training images in place of 60,000


@pytest.fixture(scope="module")
def scores(small_reference, held_out):
    """What N real images score, under "real", and each defect made of the same ones."""
    return {name: score(images) for name, images in ({"real": held_out.images[:N]} | quality.defects(N)).items()}


@pytest.fixture(scope="module")
def words(real_row):
    """What is said of a score."""
    return lambda one: quality.sentences(quality.verdict(one, real_row))


MOVED = {  # what must have happened to defect q, where real images of the same number score r
    "noise": lambda q, r: (
        q.precision < 0.1 * r.precision and q.density < 0.05 * r.density and q.frechet > 50 * r.frechet
    ),
    "one digit": lambda q, r: q.kl > 0.9 * math.log(10) and q.recall < 0.1 * r.recall and q.smallest_share == 0,
    "one image": lambda q, r: q.distinct == 1 / N and q.coverage < 0.01 * r.coverage and q.recall == 0,
    "ten images": lambda q, r: q.distinct == 10 / N and q.kl < 2 * r.kl and q.coverage < 0.05 * r.coverage,
    "five digits": lambda q, r: abs(q.kl - math.log(2)) < 0.05 and q.coverage < 0.65 * r.coverage,
    "half ones": lambda q, r: (
        abs(q.shares[1] - (1 + r.shares[1]) / 2) < 0.03 and q.smallest_share > 0.3 * r.smallest_share
    ),
    "half noise": lambda q, r: 0.45 < q.precision / r.precision < 0.6 and q.recall > 0.9 * r.recall,
    "dots": lambda q, r: q.density < 0.6 * r.density and q.frechet > 5 * r.frechet,
    "erased": lambda q, r: q.density < 0.8 * r.density and q.confident < r.confident - 0.1,
    "blurred": lambda q, r: q.confident < 0.5 * r.confident and q.density < 0.7 * r.density,
    "shifted": lambda q, r: q.frechet > 5 * r.frechet and q.density < 0.4 * r.density and q.kl < 2 * r.kl,
    "drawn twice": lambda q, r: q.distinct == 0.5 and q.coverage < 0.85 * r.coverage,
    "copies": lambda q, r: (
        q.memorisation < 0.01 * r.memorisation and q.frechet < r.frechet and q.kid < r.kid + 2 * r.kid_sd
    ),
}
HEADS = ["Not digits", "All images are", "Something lies on", "Something is cut", "Strokes are too thin"]
HEADS += ["Strokes are too thick", "Blurred, pale or noisy", "Without the greys", "Specks", "Distorted", "Far from"]
HEADS += ["Digits missing", "Too frequent", "Repeated: 2,000 samples", "Repeated: of 2,000", "Variety is lost"]
HEADS += ["Some variety", "Copies:", "Copies, or", "Differs from real digits", "No sign of collapse"]
SAID = {  # what the verdict must name, by the first words of a sentence, and what must stand in it
    "real": (["No sign of collapse"], "ten digits"),
    "noise": (["Not digits"], "precision 0.0"),
    "one digit": (["Digits missing", "Too frequent", "Repeated: 2,000 samples", "Variety is lost"], "7 is 100%"),
    "one image": (["Digits missing", "Too frequent", "Repeated: 2,000 samples", "Variety is lost"], "show 1 picture "),
    "ten images": (["Repeated: 2,000 samples", "Variety is lost"], "show 10 pictures"),
    "five digits": (["Digits missing", "Too frequent"], "rare: 5, 6, 7, 8, 9 (below 2%)"),
    "half ones": (["Too frequent", "Repeated: 2,000 samples"], "1 is 5"),
    "half noise": (["Specks", "Distorted"], "mixed with what is no digit: density 0.4"),
    "dots": (["Specks", "Distorted"], "density 0."),
    "erased": (["Strokes are too thin", "Distorted"], "density 0."),
    "blurred": (["Blurred, pale or noisy", "Distorted", "Variety is lost"], "confident 0."),
    "shifted": (["All images are"], "shifted, 3 down"),
    "drawn twice": (["Repeated: 2,000 samples"], "show 1,000 pictures"),
    "copies": (["Copies:"], "100% of the samples"),
}
BESIDE = {  # what else may be said of it, and is true
    "half noise": ["Strokes are too thick", "Blurred, pale or noisy", "Too frequent", "Some variety", "Far from"],
    "dots": ["Strokes are too thick", "Far from", "Variety is lost", "Some variety", "Blurred, pale or noisy"],
    "erased": ["Strokes are too thick", "Variety is lost", "Some variety", "Too frequent"],
    "blurred": ["Too frequent"],
    "half ones": ["Some variety"],
    "five digits": ["Some variety"],
    "drawn twice": ["Some variety"],
    "ten images": ["Digits missing", "Too frequent", "Specks"],
    "one image": [
        "Specks",
        "Blurred, pale or noisy",
        "Strokes are too thick",
        "Strokes are too thin",
        "Without the greys",
    ],
}


@pytest.mark.parametrize("name", MOVED)
def test_a_defect_moves_the_metric_that_is_meant_to_see_it(scores, name):
    assert MOVED[name](scores[name], scores["real"]), scores[name]


@pytest.mark.parametrize("name", MOVED)
def test_real_images_do_not_pass_for_a_defect(scores, name):
    assert not MOVED[name](scores["real"], scores["real"])


@pytest.mark.parametrize("name", SAID)
def test_the_verdict_says_what_is_wrong(scores, words, name):
    heads, text = SAID[name]
    said = words(scores[name])
    found = [head for head in HEADS if head in said]
    assert set(heads) <= set(found) <= {*heads, *BESIDE.get(name, ())}, said
    assert text in said


def test_every_defect_has_its_line_and_its_tests(scores):
    assert set(MOVED) | {"real"} == set(SAID) == set(scores)
    source = inspect.getsource(quality.defects)
    assert [name for name in MOVED if not re.search(rf'\n        "{name}": .*,  # .+', source)] == []


@pytest.mark.parametrize("level", [0.0, 0.03, -1.0, 1.0])
def test_a_dead_generator_is_scored_and_not_taken_for_a_wrong_range(small_reference, words, level):
    dead = score(torch.full((N, 1, 28, 28), level))
    assert "2,000 samples show 1 picture " in words(dead)
    assert words(dead).startswith("Strokes are too thin" if level == -1 else "Not digits")  # all black: like a 1
    assert all(map(math.isfinite, (dead.frechet, dead.kid, dead.kid_sd, dead.memorisation)))


def test_the_verdict_on_generators(scores, words):
    torch.manual_seed(0)
    untrained = score(sample_many(models.build("dcgan", init="default")[0], N))
    assert words(untrained).startswith("Not digits")
    report, dead = (
        score(sample_many(runs.load_run(runs.shipped(name)).generator(), N)) for name in ("mlp_report", "mlp_default")
    )
    assert "Repeated: 2,000 samples show 1 picture " in words(dead)
    assert "Digits missing" not in words(report)
    assert "Too frequent: 1 is 2" in words(report)
    assert "Specks" in words(report)
    for accused in ("Copies", "Repeated", "All images", "Something", "Strokes", "Not digits"):
        assert accused not in words(report)
    assert scores["real"].frechet < report.frechet < dead.frechet


def test_a_tenth_of_noise_among_real_digits_is_seen(small_reference, held_out, words):
    images = held_out.images[:N].clone()
    images[::10] = torch.rand(images[::10].shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert words(score(images)).startswith("Specks")


def mixed(held_out):
    """Faults for which no limit was chosen: name -> (images, the first words of what must be said of them)."""
    random = torch.Generator().manual_seed(5)
    x, train = held_out.images[:N], SCORE.load_mnist().images[:N]
    noise = torch.randn(x.shape, generator=random)
    without = held_out.images[held_out.labels != 7][:N]
    third = (torch.arange(N) % 3 == 0).view(-1, 1, 1, 1)
    return {
        "one class missing": (without, "Digits missing or rare: 7 "),
        "eroded": (-pixels.thicker(-x, 3, 1.0), "Strokes are too thin"),
        "flipped": (x.flip(3), "All images are mirrored left to right"),
        "half repeated": (
            torch.cat([x[: N // 2], (x[:50].repeat(20, 1, 1, 1) + 0.02 * noise[: N // 2]).clamp(-1, 1)]),
            "Repeated: of 2,000",
        ),
        "a third copied, with noise": (torch.where(third, (train + 0.05 * noise).clamp(-1, 1), x), "Copies: 3"),
    }


@pytest.mark.parametrize(
    "name", ["one class missing", "eroded", "flipped", "half repeated", "a third copied, with noise"]
)
def test_faults_that_no_limit_was_chosen_for_are_named(small_reference, held_out, words, name):
    images, head = mixed(held_out)[name]
    assert head in words(score(images))
