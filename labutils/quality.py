"""How good and how varied generated digits are, in numbers: `score`, and a small classifier to see digits with.

Every number is taken from 64 features of that classifier, made for digits as Inception's are for photographs: compare
it with others from here, never with a published FID.
"""

import functools
import math
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labutils import runs
from labutils.data import ASSETS, Digits, check_images, load_mnist, unscale
from labutils.models import sample

CLASSIFIER = ASSETS.parent / "classifier"  # classifier.safetensors and its training record, classifier.json


class Classifier(nn.Module):
    """Images (N, 1, 28, 28) in [-1, 1] -> logits (N, 10), one for each digit."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, kernel_size=3, padding=1),  # (N, 16, 28, 28)
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, kernel_size=3, padding=1),  # (N, 32, 14, 14)
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, kernel_size=3, padding=1),  # (N, 64, 7, 7)
            nn.ReLU(),
            nn.Flatten(),  # (N, 3136): where a stroke lies is kept, so that a shifted digit differs
            nn.Dropout(0.5),
            nn.Linear(64 * 7 * 7, 64),
            nn.ReLU(),
        )
        self.head = nn.Linear(64, 10)

    def features(self, x: Tensor) -> Tensor:
        """What the last layer decides by: (N, 64), none below 0."""
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def train_classifier(folder: str | Path, digits: Digits | None = None, epochs: int = 12, seed: int = 0) -> dict:
    """Train a Classifier and write classifier.safetensors and its record, classifier.json; returns the record.

    Args:
        folder: where to write; made if it is not there.
        digits: the training split of MNIST, if not given. The test split is looked at once, at the end.
        epochs, seed: same seed, PyTorch, processor and number of threads: the same weights.
    """
    folder = Path(folder).expanduser()
    digits = load_mnist() if digits is None else digits
    if (last := int(digits.labels.max())) > 9:
        raise ValueError(f"The labels go up to {last}; the classifier tells ten classes apart, 0 to 9.")
    with runs.one_writer(folder):  # found out now, not after minutes, where nothing can be written
        return _train_classifier(folder, digits, epochs, seed)


def _train_classifier(folder: Path, digits: Digits, epochs: int, seed: int) -> dict:
    batch, rate, history = 128, 2e-3, []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Classifier()
        steps = math.ceil(len(digits.images) / batch)
        optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * steps)
        for epoch in range(1, epochs + 1):
            loss_sum, correct = 0.0, 0
            for part in torch.randperm(len(digits.images)).split(batch):
                down, right = torch.randint(-1, 2, (2,)).tolist()  # one pixel at most: a larger shift is a defect
                x, y = digits.images[part].roll((down, right), dims=(2, 3)), digits.labels[part]
                logits = network(x)
                loss = F.cross_entropy(logits, y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                loss_sum += float(loss.detach()) * len(part)
                correct += int((logits.argmax(1) == y).sum())
            row = {"loss": loss_sum / len(digits.images), "accuracy": correct / len(digits.images)}
            history.append({"epoch": epoch} | row)
            print(f"epoch {epoch} of {epochs}: loss {row['loss']:.4f}, accuracy {row['accuracy']:.4f}", flush=True)
    network.eval()
    test = load_mnist("test")
    record = {
        "command": "python -m labutils classifier",
        "settings": {"epochs": epochs, "seed": seed, "batch_size": batch, "lr": rate, "shift": 1, "dropout": 0.5}
        | {"optimizer": "AdamW, weight decay 0.01, one cycle of the learning rate", "threads": torch.get_num_threads()},
        "versions": {"torch": torch.__version__, "python": platform.python_version(), "machine": platform.machine()},
        "data": {"images": len(digits.images), "sha256": runs.digest({"images": digits.images})},
        "history": history,
        "test_accuracy": float((_see(network, test.images)[1].argmax(1) == test.labels).double().mean()),
        "weights_sha256": runs.digest(network.state_dict()),
    }
    runs.write_tensors(folder / "classifier.safetensors", network.state_dict(), {})
    runs.write_json(folder / "classifier.json", record)
    return record


@functools.cache
def digit_classifier() -> Classifier:
    """The classifier of the data in use, in eval mode and without gradients.

    MNIST's comes with labutils; for the images that LABUTILS_DATA names, `python -m labutils classifier` makes one.

    Raises:
        ValueError: LABUTILS_DATA names images for which there is no classifier yet.
        RunError: a file is damaged.
    """
    path = _classifier_folder() / "classifier.safetensors"
    try:
        with torch.device("meta"):  # takes no random number
            network = Classifier()
        network.load_state_dict(runs.read_tensors(path)[0], assign=True)
    except RuntimeError as error:  # of which RunError is one
        raise runs.RunError(f"The classifier cannot be read ({error}) Reinstall labutils, or train it again.") from None
    return network.eval().requires_grad_(False)


def _classifier_folder() -> Path:
    """Where the classifier is whose record names the training images in use."""
    sha256 = runs.digest({"images": load_mnist().images})
    for folder in (CLASSIFIER, runs.runs_folder() / "classifier"):
        record = folder / "classifier.json"
        if record.is_file() and runs.read_json(record)["data"]["sha256"] == sha256:
            return folder
    raise ValueError(
        "The images that LABUTILS_DATA names are not MNIST's, and the classifier that comes with the lab knows digits "
        "only: its numbers would mean nothing. Train one for them, some minutes: python -m labutils classifier. "
        "Or leave LABUTILS_DATA unset to score digits."
    )


NEIGHBOURS = 5  # k of density, coverage, precision and recall (Naeem et al. 2020)
REFERENCES = 10_000  # real images for them and for KID
SUBSET = 1_000  # images in one of KID's at most ten subsets (Binkowski et al. 2018)
LEAST = 2 * SUBSET  # samples: KID's standard deviation needs two subsets
# The verdict's thresholds, and what MNIST's real test images score.
REAL = {"precision": 0.95, "density": 1.0, "confident": 0.99}
# As parts of what real images reach:
NO_DIGITS = 0.25  # precision, confident: of noise, inverted digits and dead or untrained generators one is below 0.2
OUTSIDE = 0.8  # precision, density, confident: the density of digits shifted by one pixel is 0.73, of blurred ones 0.21
RARE, FREQUENT = 0.02, 0.2  # shares: a fifth and the double of an even one; those of real digits are .09 to .11
VARIED, LOST = 0.8, 0.5  # coverage, as a part of what as many real images reach: half of them drawn twice have .79
FAR = 15  # Fréchet distance: of real images 1, of 2,000 neighbours in the file 11.5; with a tenth of noise 20
COPIED = 0.75  # memorisation: training images with a little noise (sd .1) have .24, half of them among new ones .68
NOT_DIGITS = "Not digits"
REPEATED = 0.99  # distinct: of real images, and of a working generator's, no two are alike


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

    def to_dict(self) -> dict:
        """For JSON."""
        return asdict(self) | {"shares": list(self.shares)}

    @classmethod
    def from_dict(cls, content: dict) -> "Quality":
        """The inverse of `to_dict`."""
        return cls(**content | {"shares": tuple(content["shares"])})

    @property
    def expected_coverage(self) -> float:
        """The coverage of as many images of the real distribution (Naeem et al. 2020): .97 for 10,000."""
        steps = range(1, NEIGHBOURS + 1)
        return 1 - math.prod((REFERENCES - i) / (self.samples + REFERENCES - i) for i in steps)

    @property
    def verdict(self) -> str:
        """What the numbers say, each with its threshold: are these digits, all ten, varied, new."""
        said = [self._digits(), self._classes(), self._repeats(), self._variety(), self._copies()]
        if said[0].startswith(NOT_DIGITS):  # of what is no digit, the rest would mean nothing
            said = [said[0], self._repeats()]
        return " ".join(filter(None, said)) or self._whole()

    def _whole(self) -> str:
        limit = max(FAR, 10 * real_against_real().frechet) if os.environ.get("LABUTILS_DATA") else FAR
        if self.frechet > limit:
            return (
                f"Differs from real digits: Fréchet distance {self.frechet:.1f} (above {limit:.0f} says so). The "
                "pictures of a digit may be alike, something faint may lie on all, or some may be no digits."
            )
        return (
            f"No sign of collapse: ten digits, the rarest {self.smallest_share:.1%}; coverage {self.coverage:.2f} "
            f"(real: {self.expected_coverage:.2f}); training images are at {self.memorisation:.2f} of their distance "
            "from new digits. Not excluded: that rare ways of writing are missing, that fewer than half are copies, "
            "or that a few are no digits."
        )

    def _digits(self) -> str:
        real = asdict(real_against_real()) if os.environ.get("LABUTILS_DATA") else REAL  # of the images in use
        for limit, names, text in (
            (NO_DIGITS, ("precision", "confident"), NOT_DIGITS),
            (OUTSIDE, tuple(REAL), "Distorted, or mixed with what is no digit"),
        ):
            part, name = min((getattr(self, name) / real[name], name) for name in names)
            if part < limit:
                value, below = getattr(self, name), limit * real[name]
                return f"{text}: {name} {value:.2f} (real: {real[name]:.2f}; below {below:.2f} says so)."
        return ""

    def _repeats(self) -> str:
        count = round(self.distinct * self.samples)
        text = f"Repeated: {self.samples:,} samples show {count:,} picture{'s' * (count != 1)} (below {REPEATED:.0%})."
        return text if self.distinct < REPEATED else ""

    def _classes(self) -> str:
        rare = ", ".join(str(digit) for digit, share in enumerate(self.shares) if share < RARE)
        often = ", ".join(f"{digit} is {share:.0%}" for digit, share in enumerate(self.shares) if share > FREQUENT)
        missing = rare and f"Digits missing or rare: {rare} (below {RARE:.0%})."
        return " ".join(filter(None, [missing, often and f"Too frequent: {often} (above {FREQUENT:.0%})."]))

    def _variety(self) -> str:
        part = self.coverage / self.expected_coverage
        text = (
            f"{'Variety is lost' if part < LOST else 'Some variety is missing'}: coverage {self.coverage:.2f}, "
            f"{part:.0%} of what as many real digits reach (below {LOST:.0%}: lost, {VARIED:.0%}: some is missing). "
            "Too many are alike, or all differ from real ones."
        )
        return text if part < VARIED else ""

    def _copies(self) -> str:
        text = f"Copies, or nearly: training images are at {self.memorisation:.2f} of their distance from new digits"
        chance = self.distinct < RARE  # a few pictures, repeated, lie near a training image or not
        return f"{text} (below {COPIED})." if self.memorisation < COPIED and not chance else ""


def draw(generator: nn.Module, count: int = 10_000, seed: int = 0) -> Tensor:
    """Images (count, 1, 28, 28) on the CPU from a generator in eval mode; z ~ N(0, I) from a source of its own."""
    z = torch.randn(count, generator.z_dim, generator=torch.Generator().manual_seed(seed))
    device = next(generator.parameters()).device
    return torch.cat([sample(generator, part.to(device)).float().cpu() for part in z.split(1_000)])


@torch.no_grad()
def score(images: Tensor) -> Quality:
    """Measure images (N, 1, 28, 28) in [-1, 1]; the first call in a process prepares the real ones, some seconds.

    Take N = 10,000. With fewer, down to 2,000, the Fréchet distance is biased upward: compare at equal N only.

    Raises:
        ValueError: too few images, or of another type, shape or range; a sentence says which.
        RunError: the classifier is damaged.
    """
    images, real = check_images(images, LEAST, generated=True).cpu(), _reference()
    features, logits = _see(digit_classifier(), images)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))  # they may be sorted by digit
    digit = logits.argmax(1)
    shares = digit.bincount(minlength=10).double() / len(images)
    some = order[:SUBSET]
    distances = _nearest(images[some]) / real.distances[digit[some]]
    return Quality(
        samples=len(images),
        frechet=frechet_distance(*_moments(features), *real.moments),
        **kernel_distance(features[order], real.features),
        **neighbourhoods(features, real.features, real.radii),
        shares=tuple(shares.tolist()),
        kl=float(torch.special.xlogy(shares, shares * 10).sum()),
        confident=float((logits.softmax(1).amax(1) > 0.9).double().mean()),
        smallest_share=float(shares.min()),
        distinct=len({row.tobytes() for row in unscale(images).numpy()}) / len(images),
        memorisation=float(distances.median()),
    )


@functools.cache
def real_against_real() -> Quality:
    """What real images score: MNIST's 10,000 test images. No generator should be asked for more."""
    return score(load_mnist("test").images)


def defects(count: int = 10_000) -> dict[str, Tensor]:
    """Known defects made of real images: `count` images (N, 1, 28, 28) of each, and what must see them.

    Test images, repeated where they are too few; the copies are training images.

    noise: precision and density go to 0.
    one digit: kl goes to ln 10, recall to 0; the digit is 7.
    one image: distinct; also coverage and recall, 0. Its precision may well be 1.
    ten images: coverage and recall go to 0, with even shares: no class is missing, all variety within them is.
    five digits: kl goes to ln 2, coverage to half; digits 0 to 4.
    half ones: shares; every digit is there, all in full variety.
    half noise: precision and density halve; recall stays.
    dots: a tenth of the pixels black or white: density.
    erased: three tenths of the pixels black: density, confident.
    blurred: means of 5 x 5 pixels: confident, density.
    shifted: 3 pixels down: the Fréchet distance, density; each image for itself is a perfect digit.
    drawn twice: distinct 0.5, coverage a little.
    copies: memorisation goes to 0, nothing else moves.
    """
    random = torch.Generator().manual_seed(0)
    real, labels = load_mnist("test")

    def some(images: Tensor) -> Tensor:
        return images[torch.arange(count) % len(images)]

    x = some(real)
    noise, chance = torch.rand(2, *x.shape, generator=random)
    noise = noise * 2 - 1
    half = (torch.arange(count) % 2 == 0).view(-1, 1, 1, 1)
    return {
        "noise": noise,
        "one digit": some(real[labels == 7]),
        "one image": some(real[:1]),
        "ten images": some(torch.cat([real[labels == digit][4:5] for digit in range(10)])),
        "five digits": some(real[labels < 5]),
        "half ones": torch.where(half, some(real[labels == 1]), x),
        "half noise": torch.where(half, noise, x),
        "dots": torch.where(chance < 0.1, noise.sign(), x),
        "erased": x.masked_fill(chance < 0.3, -1.0),
        "blurred": F.avg_pool2d(F.pad(x, (2, 2, 2, 2), value=-1.0), 5, stride=1),
        "shifted": x.roll(3, dims=2),
        "drawn twice": some(real[: count // 2]),
        "copies": load_mnist().images[:count],
    }


def frechet_distance(mean: Tensor, covariance: Tensor, real_mean: Tensor, real_covariance: Tensor) -> float:
    """|m - m'|^2 + tr(C + C' - 2 (C C')^1/2), in float64; never below 0, whatever rounding would say.

    By eigenvalues of symmetric matrices, which are real however singular C is: (C C')^1/2 has the trace of
    (C'^1/2 C C'^1/2)^1/2.
    """
    values, vectors = torch.linalg.eigh(real_covariance)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ covariance @ root).clamp(min=0).sqrt().sum()
    gap = (mean - real_mean).square().sum()
    return float((gap + covariance.trace() + real_covariance.trace() - 2 * cross).clamp(min=0))


def kernel_distance(features: Tensor, real: Tensor) -> dict[str, float]:
    """KID, {"kid", "kid_sd"}: mean and standard deviation of the unbiased squared MMD over disjoint subsets."""
    estimates = []
    for x, y in list(zip(features.double().split(SUBSET), real.double().split(SUBSET), strict=False))[:10]:
        if len(x) == len(y) == SUBSET:
            xx, yy, xy = (((a @ b.T) / a.shape[1] + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
            within = sum((m.sum() - m.trace()) / (SUBSET * (SUBSET - 1)) for m in (xx, yy))
            estimates.append(within - 2 * xy.mean())
    sd, mean = torch.std_mean(torch.stack(estimates))
    return {"kid": float(mean), "kid_sd": float(sd)}


def neighbourhoods(features: Tensor, real: Tensor, radii: Tensor | None = None) -> dict[str, float]:
    """Density and coverage (Naeem et al. 2020), precision and recall (Kynkaanniemi et al. 2019), with k = 5.

    The neighbourhood of an image reaches as far as its k-th nearest among its like. `radii`: those of `real`, squared.
    """
    radii = _radii(real) if radii is None else radii
    inside, covered, recalled = [], torch.zeros(len(real), dtype=torch.bool), torch.zeros(len(real), dtype=torch.bool)
    for part, reach in zip(features.split(500), _radii(features).split(500), strict=True):
        squared = _squared_distances(part, real)  # (500, len(real))
        near = squared < radii
        inside.append(near.float().sum(1))  # exact to 2^24, and a fifth of the time that counting booleans takes
        covered |= near.any(0)
        recalled |= (squared < reach[:, None]).any(0)
    inside = torch.cat(inside).double()
    return {
        "density": float(inside.mean() / NEIGHBOURS),
        "coverage": float(covered.double().mean()),
        "precision": float((inside > 0).double().mean()),
        "recall": float(recalled.double().mean()),
    }


@dataclass(frozen=True)
class _Reference:
    """What `score` needs of the real images."""

    moments: tuple[Tensor, Tensor]  # mean and covariance of all training features, float64
    features: Tensor  # (REFERENCES, 64)
    radii: Tensor  # (REFERENCES,), squared
    distances: Tensor  # (10,): median distance of the test images of each digit to the nearest training image


@functools.cache
def _training_images() -> tuple[Tensor, Tensor]:
    """All training images as (60000, 784), and their squared norms."""
    images = load_mnist().images
    return images.flatten(1), images.flatten(1).square().sum(1)


@functools.cache
@torch.no_grad()
def _reference() -> _Reference:
    images = _training_images()[0].view(-1, 1, 28, 28)
    features = _see(digit_classifier(), images)[0]
    fixed = features[torch.randperm(len(features), generator=torch.Generator().manual_seed(0))[:REFERENCES]]
    test = Digits(*(part[: 2 * SUBSET] for part in load_mnist("test")))
    distances = _nearest(test.images)
    return _Reference(
        moments=_moments(features),
        features=fixed,
        radii=_radii(fixed),
        distances=torch.stack([distances[test.labels == digit].median() for digit in range(10)]),
    )


def _see(network: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
    """Features (N, 64) and logits (N, 10)."""
    with torch.no_grad():
        features = torch.cat([network.features(part) for part in images.split(500)])
        return features, network.head(features)


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    return features.double().mean(0), features.double().T.cov()


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    return torch.addmm(y.square().sum(1), x, y.T, alpha=-2).add_(x.square().sum(1, keepdim=True))


def _radii(features: Tensor) -> Tensor:
    """Squared distance of each image to its k-th nearest among the others."""
    return torch.cat(
        [
            _squared_distances(part, features).topk(NEIGHBOURS + 1, largest=False).values[:, -1]
            for part in features.split(500)
        ]
    )


def _nearest(images: Tensor) -> Tensor:
    """Distance of each image to the nearest training image, in pixel space."""
    train, norms = _training_images()
    parts = [torch.addmm(norms, part, train.T, alpha=-2).amin(1) for part in images.flatten(1).split(250)]
    return (torch.cat(parts) + images.flatten(1).square().sum(1)).clamp(min=0).sqrt()
