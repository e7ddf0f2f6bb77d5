"""A verdict is a function of two records: findings first, then words made of them; nothing else is asked."""

import importlib
from dataclasses import replace

import pytest

from labutils import quality
from labutils.quality import Finding, Quality, sentences, verdict

LIMITS = importlib.import_module("labutils.quality.verdict")  # the module: labutils.quality.verdict is its function
SEVEN = {"shares": (0, 0, 0, 0, 0, 0, 0.01, 0.99, 0, 0), "smallest_share": 0.0}
MANY = "Too many are alike, or many lie where no real ones are."
UNDONE = "the other numbers mean little until that is undone."
SAID = {  # what is changed in the real row -> (kinds, in their order; the words, to the letter)
    "nothing": (
        {},
        ["no collapse"],
        "No sign of collapse: ten digits, the rarest 8.9%; coverage 0.96 (real: 0.97); training images are at 0.98 of "
        "their distance from new digits. Not excluded: that rare ways of writing are missing; that copies or repeats "
        "are turned, bent or noisy, or that few are; that there is faint noise or a single dot, or something on some "
        "of the images; that each is shifted by a pixel in a way of its own, or its greys a little changed, as by "
        "compression or a gamma; that a few are no digits.",
    ),
    "noise": (
        {"precision": 0.101, "confident": 0.5, "coverage": 0.0, **SEVEN, "memorisation": 0.5},
        ["not digits"],
        "Not digits: precision 0.10 (real: 0.95; below 0.24 says so).",
    ),
    "one grey": (
        {"precision": 0.9, "confident": 0.0, "distinct": 1e-4},
        ["not digits", "repeated"],
        "Not digits: confident 0.00 (real: 0.99; below 0.25 says so). "
        "Repeated: 10,000 samples show 1 picture (below 99%).",
    ),
    "blurred": (
        {"density": 0.5, "precision": 0.75, "confident": 0.6},
        ["distorted"],
        "Distorted, or mixed with what is no digit: density 0.50 (real: 1.00; below 0.80 says so).",
    ),
    "seven": (
        {**SEVEN, "distinct": 0.5},
        ["rare", "frequent", "repeated"],
        "Digits missing or rare: 0, 1, 2, 3, 4, 5, 6, 8, 9 (below 2%). Too frequent: 7 is 99% (above 20%). "
        "Repeated: 10,000 samples show 5,000 pictures (below 99%).",
    ),
    "collapsed": (
        {"coverage_2000": 0.06},
        ["variety lost"],
        "Variety is lost: coverage 0.06 in sets of 2,000, 10% of what as many real digits reach (below 30% says "
        f"so). {MANY}",
    ),
    "narrow": (
        {"coverage_2000": 0.3},
        ["variety missing"],
        "Some variety is missing: coverage 0.30 in sets of 2,000, 50% of what as many real digits reach (below 55% "
        f"says so). {MANY}",
    ),
    "copies": (
        {"memorisation": 0.24},
        ["copies"],
        "Copies, or nearly: training images are at 0.24 of their distance from new digits (below 0.75).",
    ),
    "many copies": (
        {"copied": 0.3, "memorisation": 0.5},
        ["copied"],
        "Copies: 30% of the samples are training images, or nearly, perhaps shifted by a pixel, thicker or thinner "
        "(above 2% says so).",
    ),
    "near repeats": (
        {"repeated": 0.25},
        ["near repeats"],
        "Repeated: of 2,000 samples 25% are nearly another, perhaps shifted by a pixel (above 5% says so).",
    ),
    "moved": (
        {"placement": "shifted, 1 down", "density": 0.7, "copied": 0.5},
        ["moved", "copied"],
        f"All images are shifted, 1 down: {UNDONE} Copies: 50% of the samples are training images, or nearly, perhaps "
        "shifted by a pixel, thicker or thinner (above 2% says so).",
    ),
    "dotted": (
        {"always": 4},
        ["added"],
        "Something lies on all images: 4 pixels are lit in at least 95% of them, and not of real digits. The other "
        "numbers mean little until that is mended.",
    ),
    "cut": (
        {"never": 1},
        ["removed"],
        "Something is cut out of all images: 1 pixel is black in at least 98% of them, and not of real digits. The "
        "other numbers mean little until that is mended.",
    ),
    "thick": (
        {"ink": 1.5},
        ["thick"],
        "Strokes are too thick, or pixels too bright: 1.48 times the ink of real digits (1.3 says so).",
    ),
    "pale": (
        {"ink": 0.5, "grey": 1.0},
        ["thin", "grey"],
        "Strokes are too thin or too pale: 0.49 times the ink of real digits (0.75 says so). "
        "Blurred, pale or noisy: 100% of the lit pixels are grey (real: 52%; above 76% says so).",
    ),
    "hard": (
        {"grey": 0.0},
        ["no grey"],
        "Without the greys of real digits: 0% of the lit pixels are grey (real: 52%; below 26% says so).",
    ),
    "specks": (
        {"specks": 0.01},
        ["specks"],
        "Specks: of the pixels that real digits leave black 1.0% are lit (real: 0.02%; above 0.3% says so).",
    ),
    "far": (
        {"memorisation": 2.0},
        ["far"],
        "Far from all training images: at 2.00 times the distance of new digits (above 1.47 says so): parts of strokes "
        "are not as in any of them.",
    ),
    "different": (
        {"frechet_2000": 20.1},
        ["different"],
        "Differs from real digits: Fréchet distance 20.1 in sets of 2,000 (above 18 says so). The pictures of a digit "
        "may be alike, something faint may lie on many, or some may be no digits.",
    ),
}


def words(one: Quality, real: Quality) -> str:
    return sentences(verdict(one, real))


@pytest.mark.parametrize("name", SAID)
def test_the_words_are_those_of_the_findings_to_the_letter(name, real_row):
    changes, kinds, said = SAID[name]
    findings = verdict(replace(real_row, **changes), real_row)
    assert list(dict.fromkeys(finding.kind for finding in findings)) == kinds
    assert sentences(findings) == said


def test_every_kind_of_finding_is_tried_and_listed():
    kinds = {kind for _, kinds, _ in SAID.values() for kind in kinds}
    assert [kind for kind in kinds if f'"{kind}"' not in " ".join(verdict.__doc__.split())] == []
    assert verdict.__doc__.count('"') == 2 * len(kinds)


OLD = dict.fromkeys(("frechet_2000", "coverage_2000", "copied", "repeated", "ink", "grey", "specks", "always", "never"))
OLD |= {"placement": None, "errors": None}


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, "no collapse"),
        ({"coverage": 0.1}, "variety lost"),
        ({"coverage": 0.7}, "variety missing"),
        ({"frechet": 15.1}, "different"),
        ({"memorisation": 0.5}, "copies"),
        ({"distinct": 0.5}, "repeated"),
        ({"precision": 0.1}, "not digits"),
    ],
)
def test_of_an_older_record_is_said_what_can_be(changes, kind, real_row):
    old = replace(real_row, **OLD | changes)
    assert set(old.to_dict()) & set(OLD) == set()
    assert Quality.from_dict(old.to_dict()) == old
    for real in (real_row, replace(real_row, **OLD)):
        assert {finding.kind for finding in verdict(old, real)} == {kind}
    assert old.interval("frechet") is None


def test_each_score_comes_with_its_interval(real_row):
    assert real_row.interval("frechet") == pytest.approx((1.1285 - 1.96 * 0.13, 1.1285 + 1.96 * 0.13))
    assert real_row.interval("samples") is None


def test_findings_carry_their_numbers(real_row):
    seen = verdict(replace(real_row, samples=2_000, shares=(0.11, 0.01, *real_row.shares[2:])), real_row)
    assert seen[0] == Finding("rare", "1", value=0.01, limit=0.02, real=0.1137, samples=2_000)
    few = replace(real_row, samples=2_000, coverage_2000=0.1)
    (seen,) = verdict(few, real_row)
    reached = few.expected_coverage_2000
    assert (seen.kind, seen.name, seen.value, seen.real) == ("variety lost", "coverage_2000", 0.1, reached)
    assert seen.limit == pytest.approx(LIMITS.LOST_2000 * reached)
    assert reached == pytest.approx(0.5982, abs=1e-4)
    seen = verdict(real_row, real_row)
    assert [finding.name for finding in seen] == ["smallest_share", "coverage", "memorisation"]
    assert [finding.value for finding in seen] == [0.0894, 0.9596, 0.983]
    assert all(finding.limit < finding.value for finding in seen)


def test_a_finding_without_words_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match="no sentence for findings of kind 'tilted'"):
        sentences([Finding("tilted", "angle", 30.0, 10.0, 0.0, 2_000)])


def test_the_thresholds_are_where_they_are_said_to_be(real_row):
    for field, bound, head in (
        ("precision", LIMITS.NO_DIGITS * 0.95, "Not digits"),
        ("confident", LIMITS.NO_DIGITS * 0.99, "Not digits"),
        ("density", LIMITS.OUTSIDE * 1.0, "Distorted"),
        ("coverage_2000", LIMITS.VARIED_2000 * real_row.expected_coverage_2000, "Some variety"),
        ("coverage_2000", LIMITS.LOST_2000 * real_row.expected_coverage_2000, "Variety is lost"),
        ("memorisation", LIMITS.COPIED, "Copies"),
        ("distinct", LIMITS.REPEATED, "Repeated"),
    ):
        assert head in words(replace(real_row, **{field: bound - 1e-3}), real_row)
        assert head not in words(replace(real_row, **{field: bound + 1e-3}), real_row)
    assert not words(replace(real_row, density=0.8002), real_row).startswith("Distorted")  # real: 1.00, as it is shown
    for real in (real_row, replace(real_row, frechet_2000=20.0), replace(real_row, frechet_2000=0.05)):  # any unit
        limit = LIMITS.DISTANT_2000 * real.frechet_2000
        assert words(replace(real_row, frechet_2000=1.01 * limit), real).startswith("Differs from real")
        assert words(replace(real_row, frechet_2000=0.99 * limit), real).startswith("No sign of collapse")
    for share, text in ((0.019, "rare: 3 (below 2%)"), (0.201, "frequent: 3 is 20% (above 20%)")):
        assert text in words(replace(real_row, shares=(0.1, 0.1, 0.1, share, *real_row.shares[4:])), real_row)


def test_a_few_pictures_are_not_called_copies(real_row):
    near = replace(real_row, memorisation=0.3, distinct=0.01)
    assert [finding.kind for finding in verdict(near, real_row)] == ["repeated"]
    assert [finding.kind for finding in verdict(replace(near, distinct=0.5), real_row)] == ["repeated", "copies"]


def test_other_images_are_held_to_what_real_ones_of_their_kind_reach(real_row):
    """Of clothes, say, a classifier is less sure than of digits, also of real ones; and some are there twice."""
    clothes = replace(real_row, confident=0.76, frechet_2000=5.0, distinct=0.95)
    assert words(clothes, real_row).startswith(
        "Distorted, or mixed with what is no digit: confident 0.76 (real: 0.99; below 0.79"
    )
    assert "Repeated" in words(clothes, real_row)
    assert words(clothes, clothes).startswith("No sign of collapse")
    assert words(replace(clothes, frechet_2000=6 * clothes.frechet_2000), clothes).startswith("No sign of collapse")
    assert words(replace(clothes, frechet_2000=8 * clothes.frechet_2000), clothes).startswith("Differs from real")
    assert words(replace(clothes, distinct=0.93), clothes).startswith("Repeated")
    worse = replace(clothes, confident=0.6)
    assert words(worse, clothes).startswith(
        "Distorted, or mixed with what is no digit: confident 0.60 (real: 0.76; below 0.61"
    )


@pytest.mark.parametrize("name", SAID)
def test_the_same_record_gets_the_same_words_whatever_the_data_in_use(name, real_row, monkeypatch, tmp_path):
    changes, _, said = SAID[name]
    for module in ("score", "classifier", "defects"):
        monkeypatch.setattr(importlib.import_module(f"labutils.quality.{module}"), "load_mnist", None)
    for folder in (tmp_path, "nowhere"):
        monkeypatch.setenv("LABUTILS_DATA", str(folder))
        one = replace(real_row, **changes)
        assert words(one, real_row) == said
        assert one.expected_coverage == pytest.approx(0.96877, abs=1e-5)


def test_a_quality_computes_nothing_but_its_expected_coverage():
    computed = [name for name, member in vars(Quality).items() if isinstance(member, property)]
    assert computed == ["expected_coverage", "expected_coverage_2000"]
    assert quality.RARE == LIMITS.RARE
