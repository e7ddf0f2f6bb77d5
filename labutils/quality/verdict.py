"""What the numbers of a set of images say, each with its limit: are these digits, all ten, varied, new.

`verdict` finds, `sentences` puts the findings into words. Both are functions of numbers: no image and no environment.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

from labutils.data import ASSETS
from labutils.quality.score import Quality

# Limits, chosen on `defects()` and on generators along their training. As parts of what real images reach:
NO_DIGITS = 0.25  # precision, confident: of noise, inverted digits and dead or untrained generators one is below 0.2
OUTSIDE = 0.8  # precision, density, confident: the density of blurred ones is 0.21
VARIED, LOST = 0.8, 0.5  # coverage, of what as many real images reach: half of them drawn twice have .79
VARIED_2000, LOST_2000 = 0.55, 0.3  # the same of coverage_2000, where gaps between the few samples count more
REPEATED = 0.99  # distinct: of real images, and of a working generator's, no two are alike
DISTANT = 13  # times the Fréchet distance of real images: 2,000 neighbours in the file have 10, a tenth of noise 18
DISTANT_2000 = 7  # the same of frechet_2000: the lab's recipe has 6
FAR = 1.5  # times the memorisation of real images: of working generators it is 1.0 to 1.4, of a tenth of noise more
THIN, THICK = 0.75, 1.3  # times the ink of real images: working generators have .92 to 1.15, wider strokes 1.5
SPECKED = 15  # times the specks of real images, and SPECKS at least: a DCGAN has 1, an MLP after 100 epochs 40
# As they are:
RARE, FREQUENT = 0.02, 0.2  # shares: a fifth and the double of an even one; those of real digits are .09 to .11
COPIED = 0.75  # memorisation: training images with a little noise (sd .1) have .24, half of them among new ones .68
TWINS, ALIKE = 0.02, 0.05  # copied, repeated: of real images none, of blurred ones .04 are like another
SPECKS = 0.003  # specks

TEXTS = json.loads((ASSETS.parent / "verdict.json").read_text("utf8"))  # a sentence for each kind of finding


@dataclass(frozen=True)
class Finding:
    """One thing that the numbers say, with all that a sentence about it needs."""

    kind: str  # see `verdict`
    name: str  # the number that shows it: a field of Quality, or the digit, "0" to "9", whose share it is
    value: float | str  # a text for "moved": how
    limit: float  # beyond it, as seen from `real`, the fault begins
    real: float  # what real images reach; of coverage, as many as there are samples
    samples: int  # how many images were measured


Found = tuple[str, str, float]  # kind, name and limit of a Finding


def verdict(quality: Quality, real: Quality) -> list[Finding]:
    """What is wrong with a set of images, by its score and by that of real ones of their kind, `real_against_real()`.

    Kinds: "not digits" first; where something was done to all images alike, "moved", "added", "removed"; both with
    repeats and copies alone. Else, one or more, "thin", "thick", "grey", "no grey", "specks", "distorted", "far";
    "rare" and "frequent", one for each such digit; "repeated" or "near repeats"; "variety lost" or "variety missing";
    "copies" or "copied"; where none of these is found, "different". If nothing is wrong there are three of kind
    "no collapse", the numbers that it rests on. Of a record that lacks a number nothing is said that needs it.
    """
    as_many = {"coverage": quality.expected_coverage, "coverage_2000": quality.expected_coverage_2000}
    real = replace(real, **as_many)  # those of as many images, and references, as there are
    alike, none = _alike(quality, real), _digits(quality, real, "not digits", NO_DIGITS, "precision", "confident")
    if none and not (alike and quality.placement):
        found = none + _repeats(quality, real)  # of what is no digit, the rest would mean nothing
    elif found := alike:
        found += _repeats(quality, real) + _copies(quality, real)
    else:
        numbers = ("precision", "density", "confident")
        found = _strokes(quality, real) + _digits(quality, real, "distorted", OUTSIDE, *numbers)
        found += _far(quality, real) + _classes(quality) + _repeats(quality, real)
        found += _variety(quality, real) + _copies(quality, real)
    return [_finding(quality, real, *one) for one in found or _whole(quality, real)]


def _finding(quality: Quality, real: Quality, kind: str, name: str, limit: float) -> Finding:
    value, usual = (q.shares[int(name)] if name.isdigit() else getattr(q, name) for q in (quality, real))
    return Finding(kind, name, value, limit, usual, quality.samples)


def _alike(quality: Quality, real: Quality) -> list[Found]:
    if (quality.repeated or 0) > 0.5 or quality.distinct < 0.5 * real.distinct:
        return []  # the same few strokes are in the same place
    if quality.placement:
        return [("moved", "placement", 0)]
    return [(kind, name, 0) for kind, name in (("added", "always"), ("removed", "never")) if getattr(quality, name)]


def _digits(quality: Quality, real: Quality, kind: str, part: float, *names: str) -> list[Found]:
    """Of the numbers the one that is farthest below what real images reach, if it is below `part` of that."""
    reached = {name: max(0.01, round(getattr(real, name), 2)) for name in names}  # as the sentence shows it
    least, name = min((getattr(quality, name) / reached[name], name) for name in names)
    return [(kind, name, part * reached[name])] if least < part else []


def _strokes(quality: Quality, real: Quality) -> list[Found]:
    if quality.ink is None or real.ink is None:
        return []
    thin, thick, few, many = THIN * real.ink, THICK * real.ink, real.grey / 2, (1 + real.grey) / 2
    limit = max(SPECKS, SPECKED * real.specks)
    found = [("thin", "ink", thin)] * (quality.ink < thin) + [("thick", "ink", thick)] * (quality.ink > thick)
    found += [("grey", "grey", many)] * (quality.grey > many)
    found += [("no grey", "grey", few)] * (quality.grey < few and quality.ink > 0.1)  # black has no greys either
    return found + [("specks", "specks", limit)] * (quality.specks > limit)


def _far(quality: Quality, real: Quality) -> list[Found]:
    limit = FAR * real.memorisation
    return [("far", "memorisation", limit)] * (quality.memorisation > limit)


def _classes(quality: Quality) -> list[Found]:
    shares = list(enumerate(quality.shares))
    rare = [("rare", str(digit), RARE) for digit, share in shares if share < RARE]
    return rare + [("frequent", str(digit), FREQUENT) for digit, share in shares if share > FREQUENT]


def _repeats(quality: Quality, real: Quality) -> list[Found]:
    if quality.distinct < (limit := REPEATED * real.distinct):
        return [("repeated", "distinct", limit)]
    alike = ALIKE + (real.repeated or 0)
    return [("near repeats", "repeated", alike)] * ((quality.repeated or 0) > alike)


def _variety(quality: Quality, real: Quality) -> list[Found]:
    name, lost, varied = "coverage", LOST, VARIED
    if quality.coverage_2000 is not None:  # does not depend on the number of samples
        name, lost, varied = "coverage_2000", LOST_2000, VARIED_2000
    for kind, part in (("variety lost", lost), ("variety missing", varied)):
        if getattr(quality, name) < part * getattr(real, name):
            return [(kind, name, part * getattr(real, name))]
    return []


def _copies(quality: Quality, real: Quality) -> list[Found]:
    chance = quality.distinct < RARE  # a few pictures, repeated, lie near a training image or not
    twins = TWINS + (real.copied or 0)
    if (quality.copied or 0) > twins and not chance:
        return [("copied", "copied", twins)]
    return [("copies", "memorisation", COPIED)] if quality.memorisation < COPIED and not chance else []


def _whole(quality: Quality, real: Quality) -> list[Found]:
    name, part = "frechet", DISTANT
    if None not in (quality.frechet_2000, real.frechet_2000):
        name, part = "frechet_2000", DISTANT_2000
    if getattr(quality, name) > (limit := part * getattr(real, name)):
        return [("different", name, limit)]
    limits = {"smallest_share": RARE, "coverage": VARIED * real.coverage, "memorisation": COPIED}
    return [("no collapse", name, limit) for name, limit in limits.items()]


def sentences(findings: list[Finding], texts: dict[str, str] = TEXTS, called: Callable[[str], str] = str) -> str:
    """The findings of a `verdict` in words: a sentence for each kind, by `texts`, with the limit that it rests on.

    `called`: what a number's name is in the language of the texts.
    """
    said = []
    for kind in dict.fromkeys(finding.kind for finding in findings):
        if kind not in texts:
            raise ValueError(f"There is no sentence for findings of kind {kind!r}.")
        those = [finding for finding in findings if finding.kind == kind]
        said.append(texts[kind].format(**vars(those[0]) | _about(those) | {"name": called(those[0].name)}))
    return " ".join(said)


def _about(those: list[Finding]) -> dict[str, float | str]:
    """What else than its fields a sentence about findings of one kind may want."""
    first, digits = those[0], [one for one in those if one.name.isdigit()]
    value = 0 if isinstance(first.value, str) else first.value
    count = round(value * first.samples)
    about = {
        "part": value / (first.real or 1),
        "limit_part": first.limit / (first.real or 1),
        "pixels": f"{value} pixel{'s are' if value > 1 else ' is'}",
        "count": count,
        "pictures": f"{count:,} picture{'s' * (count != 1)}",
        "names": ", ".join(one.name for one in digits),
        "often": ", ".join(f"{one.name} is {one.value:.0%}" for one in digits),
        "shares": ", ".join(f"{one.name} ({one.value:.0%})" for one in digits),
        "sets": " in sets of 2,000" * first.name.endswith("_2000"),
    }
    return about | {one.name: one.value for one in those} | {f"real_{one.name}": one.real for one in those}
