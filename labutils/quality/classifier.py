"""The classifier that scores see digits with: its network, its training, and the one that comes with the lab."""

import functools
import math
import platform
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labutils import runs
from labutils.data import ASSETS, Digits, load_mnist
from labutils.engine.paths import expanded
from labutils.quality import metrics, pixels

CLASSIFIER = ASSETS.parent / "classifier"  # classifier.safetensors, its training record classifier.json, and REAL
REAL = "real.safetensors"  # what a score needs of the real images as that classifier sees them
REFERENCES = 10_000  # real images, at most, for density, coverage, precision, recall and KID
MIN_SAMPLES = 2 * metrics.SUBSET  # KID's standard deviation needs two subsets


class MaxPool(nn.MaxPool2d):
    """2 x 2. Where no gradient is asked for, the same numbers in a tenth of the time that PyTorch's loop takes."""

    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad:
            return super().forward(x)
        x = torch.maximum(x[:, :, ::2], x[:, :, 1::2])
        return torch.maximum(x[..., ::2], x[..., 1::2])


class Classifier(nn.Module):
    """Images (N, 1, 28, 28) in [-1, 1] -> logits (N, 10), one for each digit."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, kernel_size=3, padding=1),  # (N, 16, 28, 28)
            nn.ReLU(),
            MaxPool(2),
            nn.Conv2d(16, 32, kernel_size=3, padding=1),  # (N, 32, 14, 14)
            nn.ReLU(),
            MaxPool(2),
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
    """Train a Classifier and write classifier.safetensors, REAL and the record, classifier.json; returns the record.

    Args:
        folder: where to write; made if it is not there.
        digits: the training split of MNIST, if not given. The test split is looked at once, at the end.
        epochs, seed: same seed, PyTorch, processor and number of threads: the same weights.
    Raises:
        ValueError: the images are too few, or not of ten classes; a sentence says what is needed.
    """
    folder = expanded(folder)
    digits, test = load_mnist() if digits is None else digits, load_mnist("test")
    check_real(digits, test)
    to_training(digits, test)  # what it refuses is refused now, not after minutes
    versions = {"torch": torch.__version__, "python": platform.python_version(), "machine": platform.machine()}
    with runs.one_writer(folder):  # found out now, not after minutes, where nothing can be written
        network, settings, history = _fit(digits, epochs, seed)
        record = {
            "command": "python -m labutils classifier",
            "settings": settings | {"threads": torch.get_num_threads()},
            "versions": versions,
            "data": {"images": len(digits.images), "sha256": runs.digest({"images": digits.images})},
            "history": history,
            "test_accuracy": float((see(network, test.images)[1].argmax(1) == test.labels).double().mean()),
            "weights_sha256": runs.digest(network.state_dict()),
        }
        runs.write_tensors(folder / "classifier.safetensors", network.state_dict(), {})
        runs.write_tensors(folder / REAL, *statistics(network, digits, test))
        runs.write_json(folder / "classifier.json", record)
    return record


def _fit(digits: Digits, epochs: int, seed: int) -> tuple[Classifier, dict, list[dict]]:
    """A Classifier in eval mode, its settings, and the loss and accuracy of each epoch."""
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
            loss, accuracy = loss_sum / len(digits.images), correct / len(digits.images)
            history.append({"epoch": epoch, "loss": loss, "accuracy": accuracy})
            print(f"epoch {epoch} of {epochs}: loss {loss:.4f}, accuracy {accuracy:.4f}", flush=True)
    settings = {"epochs": epochs, "seed": seed, "batch_size": batch, "lr": rate, "shift": 1, "dropout": 0.5}
    return network.eval(), settings | {"optimizer": "AdamW, weight decay 0.01, one cycle of the learning rate"}, history


@functools.cache
def digit_classifier() -> Classifier:
    """The classifier of the data in use, in eval mode and without gradients.

    MNIST's comes with labutils; for the images that LABUTILS_DATA names, `python -m labutils classifier` makes one.

    Raises:
        ValueError: LABUTILS_DATA names images for which there is no classifier yet.
        RunError: a file is damaged.
    """
    path = classifier_folder() / "classifier.safetensors"
    try:
        with torch.device("meta"):  # takes no random number
            network = Classifier()
        network.load_state_dict(runs.read_tensors(path)[0], assign=True)
    except RuntimeError as error:  # of which RunError is one
        raise runs.RunError(f"The classifier cannot be read ({error}) Reinstall labutils, or train it again.") from None
    return network.eval().requires_grad_(False)


def classifier_folder() -> Path:
    """Where the classifier is whose record names the training images in use."""
    digits = load_mnist()
    sha256 = runs.digest({"images": digits.images})
    for folder in (CLASSIFIER, runs.runs_folder() / "classifier"):
        record = folder / "classifier.json"
        if record.is_file() and runs.read_json(record)["data"]["sha256"] == sha256:
            return folder
    check_real(digits, load_mnist("test"))  # before it is trained for minutes
    raise ValueError(
        "The images that LABUTILS_DATA names are not MNIST's, and the classifier that comes with the lab knows digits "
        "only: its numbers would mean nothing. Train one for them, some minutes: python -m labutils classifier. "
        "Or leave LABUTILS_DATA unset to score digits."
    )


@torch.no_grad()
def see(network: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
    """Features (N, 64) and logits (N, 10)."""
    features = torch.cat([network.features(part) for part in images.split(100)])
    return features, network.head(features)


def check_real(train: Digits, test: Digits) -> None:
    """ValueError, a sentence, if scores cannot be made for these images."""
    for split, (images, labels) in {"training": train, "test": test}.items():
        found = labels.unique().tolist()
        if found != list(range(10)):
            raise ValueError(
                f"The labels of the {split} images are {', '.join(map(str, found))}; scores need ten, 0 to 9, "
                "for they count the share of each. Networks can be trained on these images, but not scored."
            )
        if len(images) < MIN_SAMPLES:
            raise ValueError(
                f"{len(images):,} {split} images are too few to score by; at least {MIN_SAMPLES:,} are needed, better "
                "10,000. Networks can be trained on these images, but not scored."
            )


@torch.no_grad()
def statistics(network: Classifier, train: Digits, test: Digits) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What a score needs of the real images and takes long to compute, and what it is of, by SHA-256.

    "mean" and "covariance" of the training images' features, in float64; "features" of the references and their
    "radii"; of each digit, 0 to 9, `pixels.looks`, and as medians over test images: "distances" to the nearest training
    image, and "sines" of the angle to it (`pixels.to_training`).
    """
    some, labels, medians = test.images[:2_000], test.labels[:2_000], to_training(train, test)
    sines = pixels.to_training(some, labels, train, pixels.outline(train.images))
    features = see(network, train.images)[0]
    mean, covariance = metrics.moments(features)
    near = features[references(train)]
    known = {"mean": mean, "covariance": covariance, "features": near, "radii": metrics.radii(near)}
    known |= {"distances": medians, "sines": torch.stack([sines[labels == digit].median() for digit in range(10)])}
    return known | pixels.looks(train), signature(network, train, test)


def to_training(train: Digits, test: Digits) -> Tensor:
    """(10,): of test images of each digit the median distance to the nearest training image; ValueError if it is 0."""
    images, some, labels = train.images.flatten(1), test.images[:2_000], test.labels[:2_000]
    distances = metrics.nearest(some.flatten(1), images, metrics.squared_norms(images))
    medians = torch.stack([distances[labels == digit].nanmedian() for digit in range(10)])
    if not medians.min() > 0.1:  # of digits 5 to 9, and of an image and itself nearly 0
        digit = int((medians > 0.1).int().argmin())
        raise ValueError(
            f"Of digit {digit} the first 2,000 test images hold none, or the training images hold them too: then "
            "copies cannot be told from new digits. Shuffle the images, and keep those of the test apart."
        )
    return medians


def references(train: Digits) -> Tensor:
    """Which of the training images are the references: always the same ones."""
    return torch.randperm(len(train.images), generator=torch.Generator().manual_seed(0))[:REFERENCES]


def signature(network: Classifier, train: Digits, test: Digits) -> dict[str, str]:
    """SHA-256 of all that scores of real images depend on, and how many references."""
    looked_at = {"weights": network.state_dict(), "train": {"images": train.images}, "test": test._asdict()}
    return {name: runs.digest(tensors) for name, tensors in looked_at.items()} | {"references": str(REFERENCES)}
