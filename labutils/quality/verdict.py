"""What the numbers of a set of images say, each with its limit: are these digits, all ten, varied, new.

`verdict` finds, `sentences` puts the findings into words. Both are functions of numbers: no image, file or environment.
"""

from dataclasses import dataclass, replace

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
THIN, THICK = (
    0.75,
    1.3,
)  # times the ink of real images: of working generators .92 to 1.15, of strokes one pixel wider 1.5
SPECKED = 15  # times the specks of real images, and SPECKS at least: a DCGAN has 1, an MLP after 100 epochs 40
# As they are:
RARE, FREQUENT = 0.02, 0.2  # shares: a fifth and the double of an even one; those of real digits are .09 to .11
COPIED = 0.75  # memorisation: training images with a little noise (sd .1) have .24, half of them among new ones .68
TWINS, ALIKE = 0.02, 0.05  # copied, repeated: of real images none, of blurred ones .04 are like another
SPECKS, CUT = 0.003, 20  # specks; never: thinner strokes alone leave a few pixels black


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
    repeats and copies alone. Else, one or more, "ink", "grey", "specks", "distorted", "far"; "rare" and "frequent", one
    for each such digit; "repeated" or "near repeats"; "variety lost" or "variety missing"; "copies" or "copied"; where
    none of these is found, "different". If nothing is wrong there are three of kind "no collapse", the numbers that it
    rests on. Of a record that lacks a number nothing is said that needs it.
    """
    as_many = {"coverage": quality.expected_coverage, "coverage_2000": quality.expected_coverage_2000}
    real = replace(real, **as_many)  # those of as many images, and references, as there are
    alike, none = _alike(quality, real), _digits(quality, real, "not digits", NO_DIGITS, "precision", "confident")
    if none and not (alike and quality.placement):
        found = none + _repeats(quality, real)  # of what is no digit, the rest would mean nothing
    elif found := alike:
        found += _repeats(quality, real) + _copies(quality, real)
    else:
        found = _strokes(quality, real) + _digits(
            quality, real, "distorted", OUTSIDE, "precision", "density", "confident"
        )
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
    thin = quality.never and quality.ink < THIN * (real.ink or 1) and quality.never < CUT
    parts = {"always": quality.always, "never": 0 if thin else quality.never}
    return [(kind, name, 0) for kind, name in (("added", "always"), ("removed", "never")) if parts[name]]


def _digits(quality: Quality, real: Quality, kind: str, part: float, *names: str) -> list[Found]:
    """Of the numbers the one that is farthest below what real images reach, if it is below `part` of that."""
    reached = {name: max(0.01, round(getattr(real, name), 2)) for name in names}  # as the sentence shows it
    least, name = min((getattr(quality, name) / reached[name], name) for name in names)
    return [(kind, name, part * reached[name])] if least < part else []


def _strokes(quality: Quality, real: Quality) -> list[Found]:
    if quality.ink is None or real.ink is None:
        return []
    found = []
    if not THIN * real.ink <= quality.ink <= THICK * real.ink:
        found.append(("ink", "ink", (THIN if quality.ink < real.ink else THICK) * real.ink))
    if quality.grey > (1 + real.grey) / 2 or (quality.grey < real.grey / 2 and quality.ink > 0.1):  # black: no grey
        found.append(("grey", "grey", (1 + real.grey) / 2 if quality.grey > real.grey else real.grey / 2))
    limit = max(SPECKS, SPECKED * real.specks)
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


def sentences(findings: list[Finding]) -> str:
    """The findings of a `verdict` in English: a sentence for each kind, with the limit that it rests on."""
    kinds = dict.fromkeys(finding.kind for finding in findings)
    return " ".join(_sentence(*(finding for finding in findings if finding.kind == kind)) for kind in kinds)


def _sentence(first: Finding, *others: Finding) -> str:
    # Long: a table, a case for each kind.
    value, limit, real = first.value, first.limit, first.real
    match first.kind:
        case "not digits" | "distorted":
            head = "Not digits" if first.kind == "not digits" else "Distorted, or mixed with what is no digit"
            return f"{head}: {first.name} {value:.2f} (real: {real:.2f}; below {limit:.2f} says so)."
        case "moved":
            return f"All images are {value}: the other numbers mean little until that is undone."
        case "added" | "removed":
            done = "lit in at least 95%" if first.kind == "added" else "black in at least 98%"
            head = "Something lies on all images" if first.kind == "added" else "Something is cut out of all images"
            pixels = f"{value} pixel{'s are' if value > 1 else ' is'} {done} of them, and not of real digits"
            return f"{head}: {pixels}. The other numbers mean little until that is mended."
        case "ink":
            head = "Strokes are too thin or too pale" if value < real else "Strokes are too thick, or pixels too bright"
            return f"{head}: {value / real:.2f} times the ink of real digits ({limit / real:g} says so)."
        case "grey":
            head = "Blurred, pale or noisy" if value > real else "Without the greys of real digits"
            beyond = "above" if value > real else "below"
            return f"{head}: {value:.0%} of the lit pixels are grey (real: {real:.0%}; {beyond} {limit:.0%} says so)."
        case "specks":
            text = f"Specks: of the pixels that real digits leave black {value:.1%} are lit (real: {real:.2%}"
            return f"{text}; above {limit:.1%} says so)."
        case "far":
            return (
                f"Far from all training images: at {value:.2f} times the distance of new digits (above {limit:.2f} "
                "says so): parts of strokes are not as in any of them."
            )
        case "rare":
            return f"Digits missing or rare: {', '.join(one.name for one in (first, *others))} (below {limit:.0%})."
        case "frequent":
            often = ", ".join(f"{one.name} is {one.value:.0%}" for one in (first, *others))
            return f"Too frequent: {often} (above {limit:.0%})."
        case "near repeats":
            return f"Repeated: of 2,000 samples {value:.0%} are nearly another (above {limit:.0%} says so)."
        case "repeated":
            pictures = f"{(count := round(value * first.samples)):,} picture{'s' * (count != 1)}"
            return f"Repeated: {first.samples:,} samples show {pictures} (below {limit:.0%})."
        case "variety lost" | "variety missing":
            head = "Variety is lost" if first.kind == "variety lost" else "Some variety is missing"
            text = f"{head}: coverage {value:.2f}, {value / real:.0%} of what as many real digits reach"
            limits = f"below {LOST:.0%}: lost, {VARIED:.0%}: some is missing"
            if first.name == "coverage_2000":
                limits = f"sets of 2,000; below {LOST_2000:.0%}: lost, {VARIED_2000:.0%}: some is missing"
            return f"{text} ({limits}). Too many are alike, or many lie where no real ones are."
        case "copied":
            return (
                f"Copies: {value:.0%} of the samples are training images, or nearly, perhaps shifted by a pixel, "
                f"thicker or thinner (above {limit:.0%} says so)."
            )
        case "copies":
            text = f"Copies, or nearly: training images are at {value:.2f} of their distance from new digits"
            return f"{text} (below {limit})."
        case "different":
            return (
                f"Differs from real digits: Fréchet distance {value:.1f} (above {limit:.0f} says so). The "
                "pictures of a digit may be alike, something faint may lie on many, or some may be no digits."
            )
        case "no collapse":
            coverage, memorisation = others
            return (
                f"No sign of collapse: ten digits, the rarest {value:.1%}; coverage {coverage.value:.2f} (real: "
                f"{coverage.real:.2f}); training images are at {memorisation.value:.2f} of their distance from new "
                "digits. Not excluded: that rare ways of writing are missing; that copies or repeats are turned, bent "
                "or noisy, or that few are; that there is faint noise, or something on some of the images; that a few "
                "are no digits."
            )
    raise ValueError(f"There is no sentence for findings of kind {first.kind!r}.")
