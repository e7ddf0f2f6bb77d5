"""Images in, numbers out: `score` compares them with MNIST's training images, and `Quality` holds what it finds."""

import contextlib
import functools
import math
from dataclasses import asdict, dataclass
from statistics import stdev

import torch
from torch import Tensor, nn

from labutils import runs
from labutils.data import Digits, check_images, load_mnist, unscale
from labutils.models import sample
from labutils.quality import metrics, pixels
from labutils.quality.classifier import (
    CLASSIFIER,
    MIN_SAMPLES,
    REAL,
    REFERENCES,
    Classifier,
    classifier_folder,
    digit_classifier,
    see,
    signature,
    statistics,
)

FEW, SAME = 500, 0.4  # see below; of real test images none is so near to a training image, nor to another
REAL_DIGITS = CLASSIFIER / "real_against_real.json"  # what MNIST's test images score


@dataclass(frozen=True)
class Quality:
    """How good and how varied a set of images is, against MNIST's training images; compare at equal `samples` only.

    Real images do not reach the ideal values either: see `real_against_real`.
    """

    samples: int  # how many images
    frechet: float  # distance of Gaussians fitted to the features (Heusel et al. 2017); best 0, biased up by some 1/N
    kid: float  # squared MMD of the features, cubic kernel, unbiased (Binkowski et al. 2018); best 0, may be below
    kid_sd: float  # its standard deviation over subsets of 1,000
    density: float  # in how many neighbourhoods of real images a sample lies, over k (Naeem et al. 2020)
    coverage: float  # share of real images with a sample in their neighbourhood (the same)
    precision: float  # share of samples in the neighbourhood of a real image (Kynkaanniemi et al. 2019)
    recall: float  # share of real images in the neighbourhood of a sample (the same)
    shares: tuple[float, ...]  # share of each digit, 0 to 9, as the classifier sees them
    kl: float  # KL divergence of `shares` from even ones, in nats; best 0, worst ln 10 = 2.30
    confident: float  # share of samples whose digit the classifier gives more than 90%
    smallest_share: float  # of the ten in `shares`
    distinct: float  # share of different images, compared in 8 bits a pixel; 1: no two are alike
    memorisation: float  # median distance to the nearest training image over that of test images of the same digit
    references: int = REFERENCES  # with how many real images; fewer where there are no more
    # Older records lack these. Of sets of 2,000 samples the mean, so that the number of samples does not matter:
    frechet_2000: float | None = None
    coverage_2000: float | None = None
    # Copies and repeats are nearer than SAME times what test images are, by the angle between the pixels:
    copied: float | None = None  # share of samples as near to a training image, shifted by a pixel, thicker or thinner
    repeated: float | None = None  # share, of 2,000 samples, of those as near to another of these, shifted
    # What `pixels.compare` finds, beside real images with the same shares of digits:
    ink: float | None = None  # how much brighter all pixels are than those of real images; 1: equal
    grey: float | None = None  # share of the lit pixels that are not white
    specks: float | None = None  # share of lit ones among the pixels that real images leave black
    always: float | None = None  # number of pixels that nearly all samples light, and real images do not
    never: float | None = None  # number of pixels that hardly any sample lights, and real images do
    placement: str | None = None  # how all images are moved, turned, mirrored or inverted; "": not at all
    errors: dict[str, float] | None = None  # standard errors of the numbers above: how far other samples move them

    def to_dict(self) -> dict:
        """For JSON; the usual number of references, and what an older record lacks, are left out."""
        usual = {"references"} if self.references == REFERENCES else set()
        kept = {key: value for key, value in asdict(self).items() if key not in usual and value is not None}
        return kept | {"shares": list(self.shares)}

    @classmethod
    def from_dict(cls, content: dict) -> "Quality":
        """The inverse of `to_dict`."""
        return cls(**content | {"shares": tuple(content["shares"])})

    def interval(self, name: str) -> tuple[float, float] | None:
        """Where the number would lie for 95 of 100 other sets of as many samples; None where that is not known."""
        error = (self.errors or {}).get(name)
        return error and tuple(getattr(self, name) + sign * 1.96 * error for sign in (-1, 1))

    @property
    def expected_coverage(self) -> float:
        """The coverage of as many images of the real distribution (Naeem et al. 2020): .97 for 10,000."""
        return self._expected(self.samples)

    @property
    def expected_coverage_2000(self) -> float:
        """The same of `coverage_2000`: .60."""
        return self._expected(MIN_SAMPLES)

    def _expected(self, samples: int) -> float:
        steps = range(1, metrics.NEIGHBOURS + 1)
        return 1 - math.prod((self.references - i) / (samples + self.references - i) for i in steps)


def sample_many(generator: nn.Module, count: int = 10_000, seed: int = 0) -> Tensor:
    """Images (count, 1, 28, 28) on the CPU from a generator in eval mode; z ~ N(0, I) from a source of its own."""
    if not isinstance(count, int) or count < 1:
        raise ValueError(f"count is {count!r}; expected a whole number of at least 1, such as 10_000.")
    z = torch.randn(count, generator.z_dim, generator=torch.Generator().manual_seed(seed))
    device = next(generator.parameters()).device
    return torch.cat([sample(generator, part.to(device)).float().cpu() for part in z.split(1_000)])


def truncated(u: Tensor, threshold: float) -> Tensor:
    """u uniform in (0, 1), any shape -> z from N(0, 1) given that |z| <= threshold, the same shape (BigGAN's trick)."""
    edge = torch.special.ndtr(torch.tensor(threshold, dtype=torch.float64))
    return torch.special.ndtri(1 - edge + u.double() * (2 * edge - 1)).float()


@torch.no_grad()
def score(images: Tensor) -> Quality:
    """Measure images (N, 1, 28, 28) in [-1, 1]; the first call in a process prepares the real ones, some seconds.

    Take N = 10,000. With fewer, down to 2,000, the Fréchet distance is biased upward: compare at equal N only.

    Raises:
        ValueError: too few images, or of another type, shape or range; a sentence says which.
        RunError: the classifier is damaged.
    """
    images = check_images(images, MIN_SAMPLES, generated=True).cpu()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))  # they may be sorted by digit
    images, real, training = images[order], reference(), load_mnist()  # shared; and nobody writes into it
    features, logits = see(digit_classifier(), images)
    near, digit = metrics.near(features, real.features, real.radii), logits.argmax(1)
    shares = digit.bincount(minlength=10).double() / len(images)
    few = images[:MIN_SAMPLES]  # more of them would lie nearer to each other
    others = few[metrics.another(features[: len(few)])]
    x, of = images[:FEW], digit[:FEW]  # compared with all training images, which takes long: these are enough
    distances = metrics.nearest(x.flatten(1), training.images.flatten(1), real.norms) / real.distances[of]
    parts = {  # shares of the samples
        "confident": logits.softmax(1).amax(1) > 0.9,
        "copied": pixels.to_training(x, of, training, real.outlines) < SAME * real.sines[of],
        "repeated": pixels.shifted_sine(few, others) < SAME * real.sines[digit[: len(few)]],
    }
    numbers = {name: float(part.double().mean()) for name, part in parts.items()}
    errors = {name: math.sqrt(numbers[name] * (1 - numbers[name]) / len(part)) for name, part in parts.items()}
    kernel = metrics.kernel_distance(features, real.features)
    subsets = min(len(features), len(real.features), 10_000) // metrics.SUBSET
    return Quality(
        samples=len(images),
        **numbers | near.summary() | kernel,
        frechet=metrics.frechet_distance(*metrics.moments(features), *real.moments),
        shares=tuple(shares.tolist()),
        kl=float(torch.special.xlogy(shares, shares * 10).sum()),
        smallest_share=float(shares.min()),
        distinct=len({row.tobytes() for row in unscale(images).numpy()}) / len(images),
        memorisation=float(distances.median()),
        references=len(real.features),
        **_at_2000(features, near, real),
        **pixels.compare(images, shares.float(), real.looks),
        errors=errors | _errors(features, near, real) | {"kid": kernel["kid_sd"] / math.sqrt(subsets)},
    )


def _at_2000(features: Tensor, near: metrics.Near, real: "Reference") -> dict[str, float]:
    """Means over sets of 2,000 samples: with their number alone Fréchet distance and coverage get better."""
    sets = [part for part in features.split(MIN_SAMPLES) if len(part) == MIN_SAMPLES]
    distances = [metrics.frechet_distance(*metrics.moments(part), *real.moments) for part in sets]
    groups = near.covered[: len(sets) * MIN_SAMPLES // metrics.GROUP].view(len(sets), -1, len(real.features))
    covered = groups.any(1).double().mean()
    return {"frechet_2000": sum(distances) / len(sets), "coverage_2000": float(covered)}


def _errors(features: Tensor, near: metrics.Near, real: "Reference") -> dict[str, float]:
    """Standard errors by the jackknife (Tukey 1958): each group of samples is left out once."""
    groups = features.double().split(metrics.GROUP)
    sums = [torch.stack([part.sum(0) for part in groups]), torch.stack([part.T @ part for part in groups])]
    found = []
    for but, part in enumerate(groups):
        n = len(features) - len(part)
        mean, squares = (each.sum(0) - each[but] for each in sums)
        covariance = (squares - torch.outer(mean, mean) / n) / (n - 1)
        found.append(near.summary(but) | {"frechet": metrics.frechet_distance(mean / n, covariance, *real.moments)})
    spread = math.sqrt((len(groups) - 1) ** 2 / len(groups))  # times the standard deviation of the groups' numbers
    return {name: spread * stdev(each[name] for each in found) for name in found[0]}


@functools.cache
def real_against_real() -> Quality:
    """What real images score: the test images of the data in use. No generator should be asked for more."""
    recorded = runs.read_json(REAL_DIGITS)
    if recorded["of"] == signature(digit_classifier(), load_mnist(), load_mnist("test")):
        return Quality.from_dict(recorded["quality"])
    return score(load_mnist("test").images)


def real_digits() -> Quality:
    """What MNIST's test images score, since the study is of MNIST; a sentence says so where other data are in use."""
    own = True
    with contextlib.suppress(ValueError):  # they may be such that cannot be scored
        own = classifier_folder() != CLASSIFIER
    if own:
        print("The study is of MNIST, and so is what real digits score; LABUTILS_DATA names other images.")
    return Quality.from_dict(runs.read_json(REAL_DIGITS)["quality"])


def record_real_digits() -> None:
    """Write anew what comes with the lab beside its classifier, REAL and REAL_DIGITS: for another classifier."""
    of = digit_classifier(), load_mnist(), load_mnist("test")
    runs.write_tensors(CLASSIFIER / REAL, *statistics(*of))
    reference.cache_clear()
    runs.write_json(REAL_DIGITS, {"of": signature(*of), "quality": score(of[2].images).to_dict()})


@dataclass(frozen=True)
class Reference:
    """What `score` needs of the real images."""

    moments: tuple[Tensor, Tensor]  # mean and covariance of all training features, float64
    features: Tensor  # (REFERENCES, 64); of all if there are fewer
    radii: Tensor  # as many, squared
    distances: Tensor  # (10,): median distance of the test images of each digit to the nearest training image
    sines: Tensor  # (10,): the same by `pixels.to_training`
    looks: dict[str, Tensor]  # of `pixels.looks`
    norms: Tensor  # (60000,), of all training images, squared
    outlines: Tensor  # (60000, 49), of all training images


@functools.cache
def reference() -> Reference:
    """What `score` compares with, of the data in use; the first call takes a second, for other data more."""
    train = load_mnist()
    known = _statistics(digit_classifier(), train)
    return Reference(
        moments=(known["mean"], known["covariance"]),
        **{name: known[name] for name in ("features", "radii", "distances", "sines")},
        looks={name: known[name] for name in ("means", "lit", "near")},
        norms=metrics.squared_norms(train.images.flatten(1)),
        outlines=pixels.outline(train.images),
    )


def _statistics(network: Classifier, train: Digits) -> dict[str, Tensor]:
    """Those that lie beside the classifier, if they are of these very images and weights; else they are computed."""
    path, test = classifier_folder() / REAL, load_mnist("test")
    with contextlib.suppress(runs.RunError):  # missing or damaged
        known, about = runs.read_tensors(path)
        if about == signature(network, train, test):
            return known
    known, about = statistics(network, train, test)
    if path.parent != CLASSIFIER:  # what came with the lab stays as it came
        with contextlib.suppress(runs.RunError):  # a full disk: they are computed again next time
            runs.write_tensors(path, known, about)
    return known
