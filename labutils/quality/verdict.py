"""What the numbers of a set of images say, each with its limit: are these digits, all ten, varied, new.

`verdict` finds, `sentences` puts the findings into words. Both are functions of numbers: no image, file or environment.
"""

from dataclasses import dataclass, replace

from labutils.quality.score import Quality

# Limits, chosen on `defects()` and on generators along their training. As parts of what real images reach:
NO_DIGITS = 0.25  # precision, confident: of noise, inverted digits and dead or untrained generators one is below 0.2
OUTSIDE = 0.8  # precision, density, confident: the density of digits shifted by one pixel is 0.73, of blurred ones 0.21
VARIED, LOST = 0.8, 0.5  # coverage, of what as many real images reach: half of them drawn twice have .79
REPEATED = 0.99  # distinct: of real images, and of a working generator's, no two are alike
DISTANT = 13  # times the Fréchet distance of real images: 2,000 neighbours in the file have 10, a tenth of noise 18
# As they are:
RARE, FREQUENT = 0.02, 0.2  # shares: a fifth and the double of an even one; those of real digits are .09 to .11
COPIED = 0.75  # memorisation: training images with a little noise (sd .1) have .24, half of them among new ones .68


@dataclass(frozen=True)
class Finding:
    """One thing that the numbers say, with all that a sentence about it needs."""

    kind: str  # see `verdict`
    name: str  # the number that shows it: a field of Quality, or the digit, "0" to "9", whose share it is
    value: float
    limit: float  # beyond it, as seen from `real`, the fault begins
    real: float  # what real images reach; of coverage, as many as there are samples
    samples: int  # how many images were measured


Found = tuple[str, str, float]  # kind, name and limit of a Finding


def verdict(quality: Quality, real: Quality) -> list[Finding]:
    """What is wrong with a set of images, by its score and by that of real ones of their kind, `real_against_real()`.

    Kinds: "not digits" or "distorted"; "rare" and "frequent", one for each such digit; "repeated"; "variety lost" or
    "variety missing"; "copies"; where none of these is found, "different". If nothing is wrong there are three of kind
    "no collapse", the numbers that this rests on.
    """
    real = replace(real, coverage=quality.expected_coverage)  # that of as many images as there are samples
    if found := _digits(quality, real, "not digits", NO_DIGITS, "precision", "confident"):
        found += _repeats(quality, real)  # of what is no digit, the rest would mean nothing
    else:
        found = _digits(quality, real, "distorted", OUTSIDE, "precision", "density", "confident")
        found += _classes(quality) + _repeats(quality, real) + _variety(quality, real) + _copies(quality)
    return [_finding(quality, real, *one) for one in found or _whole(quality, real)]


def _finding(quality: Quality, real: Quality, kind: str, name: str, limit: float) -> Finding:
    value, usual = (q.shares[int(name)] if name.isdigit() else getattr(q, name) for q in (quality, real))
    return Finding(kind, name, value, limit, usual, quality.samples)


def _digits(quality: Quality, real: Quality, kind: str, part: float, *names: str) -> list[Found]:
    """Of the numbers the one that is farthest below what real images reach, if it is below `part` of that."""
    reached = {name: max(0.01, round(getattr(real, name), 2)) for name in names}  # as the sentence shows it
    least, name = min((getattr(quality, name) / reached[name], name) for name in names)
    return [(kind, name, part * reached[name])] if least < part else []


def _classes(quality: Quality) -> list[Found]:
    shares = list(enumerate(quality.shares))
    rare = [("rare", str(digit), RARE) for digit, share in shares if share < RARE]
    return rare + [("frequent", str(digit), FREQUENT) for digit, share in shares if share > FREQUENT]


def _repeats(quality: Quality, real: Quality) -> list[Found]:
    limit = REPEATED * real.distinct
    return [("repeated", "distinct", limit)] if quality.distinct < limit else []


def _variety(quality: Quality, real: Quality) -> list[Found]:
    for kind, part in (("variety lost", LOST), ("variety missing", VARIED)):
        if quality.coverage < part * real.coverage:
            return [(kind, "coverage", part * real.coverage)]
    return []


def _copies(quality: Quality) -> list[Found]:
    chance = quality.distinct < RARE  # a few pictures, repeated, lie near a training image or not
    return [("copies", "memorisation", COPIED)] if quality.memorisation < COPIED and not chance else []


def _whole(quality: Quality, real: Quality) -> list[Found]:
    limit = DISTANT * real.frechet
    if quality.frechet > limit:
        return [("different", "frechet", limit)]
    limits = {"smallest_share": RARE, "coverage": VARIED * real.coverage, "memorisation": COPIED}
    return [("no collapse", name, limit) for name, limit in limits.items()]


def sentences(findings: list[Finding]) -> str:
    """The findings of a `verdict` in English: a sentence for each kind, with the limit that it rests on."""
    kinds = dict.fromkeys(finding.kind for finding in findings)
    return " ".join(_sentence(*(finding for finding in findings if finding.kind == kind)) for kind in kinds)


def _sentence(first: Finding, *others: Finding) -> str:
    value, limit, real = first.value, first.limit, first.real
    match first.kind:
        case "not digits" | "distorted":
            head = "Not digits" if first.kind == "not digits" else "Distorted, or mixed with what is no digit"
            return f"{head}: {first.name} {value:.2f} (real: {real:.2f}; below {limit:.2f} says so)."
        case "rare":
            return f"Digits missing or rare: {', '.join(one.name for one in (first, *others))} (below {limit:.0%})."
        case "frequent":
            often = ", ".join(f"{one.name} is {one.value:.0%}" for one in (first, *others))
            return f"Too frequent: {often} (above {limit:.0%})."
        case "repeated":
            pictures = f"{(count := round(value * first.samples)):,} picture{'s' * (count != 1)}"
            return f"Repeated: {first.samples:,} samples show {pictures} (below {limit:.0%})."
        case "variety lost" | "variety missing":
            head = "Variety is lost" if first.kind == "variety lost" else "Some variety is missing"
            text = f"{head}: coverage {value:.2f}, {value / real:.0%} of what as many real digits reach"
            limits = f"below {LOST:.0%}: lost, {VARIED:.0%}: some is missing"
            return f"{text} ({limits}). Too many are alike, or all differ from real ones."
        case "copies":
            text = f"Copies, or nearly: training images are at {value:.2f} of their distance from new digits"
            return f"{text} (below {limit})."
        case "different":
            return (
                f"Differs from real digits: Fréchet distance {value:.1f} (above {limit:.0f} says so). The "
                "pictures of a digit may be alike, something faint may lie on all, or some may be no digits."
            )
        case "no collapse":
            coverage, memorisation = others
            return (
                f"No sign of collapse: ten digits, the rarest {value:.1%}; coverage {coverage.value:.2f} (real: "
                f"{coverage.real:.2f}); training images are at {memorisation.value:.2f} of their distance from new "
                "digits. Not excluded: that rare ways of writing are missing, that fewer than half are copies, or that "
                "a few are no digits."
            )
    raise ValueError(f"There is no sentence for findings of kind {first.kind!r}.")
