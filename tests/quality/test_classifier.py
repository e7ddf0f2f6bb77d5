"""The classifier is the recorded one, trains to the same weights again, and is refused for images of another kind."""

import shutil

import pytest
import torch
from idx_files import write

from labutils import __main__, quality, runs
from labutils.data import Digits, unscale
from labutils.quality import classifier


def test_the_classifier_reads_99_of_100_and_is_the_recorded_one(digits, held_out):
    path = classifier.CLASSIFIER / "classifier.safetensors"
    record = runs.read_json(path.with_suffix(".json"))
    logits = classifier.see(quality.digit_classifier(), held_out.images)[1]
    accuracy = float((logits.argmax(1) == held_out.labels).double().mean())
    assert accuracy >= 0.99
    assert accuracy == pytest.approx(record["test_accuracy"], abs=2e-4)
    assert path.stat().st_size < 1_000_000
    assert runs.digest(runs.read_tensors(path)[0]) == record["weights_sha256"]
    assert runs.digest({"images": digits.images}) == record["data"]["sha256"]
    assert [row["epoch"] for row in record["history"]] == list(range(1, record["settings"]["epochs"] + 1))
    network = quality.digit_classifier()
    assert network is quality.digit_classifier()
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    torch.testing.assert_close(network.head(network.features(held_out.images[:9])), logits[:9])


def test_a_damaged_classifier_is_a_sentence(tmp_path, monkeypatch):
    shutil.copytree(classifier.CLASSIFIER, tmp_path / "classifier")
    monkeypatch.setattr(classifier, "CLASSIFIER", tmp_path / "classifier")
    path = tmp_path / "classifier" / "classifier.safetensors"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(runs.RunError, match=r"classifier cannot be read .*SHA-256.* Reinstall labutils"):
        quality.digit_classifier.__wrapped__()


def test_a_classifier_trains_to_the_same_weights_whatever_came_before(digits, held_out, tmp_path, monkeypatch):
    few = Digits(digits.images[:512], digits.labels[:512])
    monkeypatch.setattr(classifier, "MIN_SAMPLES", 100)
    monkeypatch.setattr(classifier, "load_mnist", lambda split="train": Digits(*(part[:100] for part in held_out)))
    records = []
    for folder, seed in (("one", 0), ("two", 0), ("other", 1)):
        torch.manual_seed(len(records))
        records.append(quality.train_classifier(tmp_path / folder, few, epochs=2, seed=seed))
        assert runs.read_json(tmp_path / folder / "classifier.json") == records[-1]
    first, second, other = records
    assert first == second
    assert first["weights_sha256"] != other["weights_sha256"]
    assert first["history"][1]["loss"] < first["history"][0]["loss"]
    assert runs.digest(runs.read_tensors(tmp_path / "one" / "classifier.safetensors")[0]) == first["weights_sha256"]


def test_the_command_trains_into_its_folder(tmp_path, monkeypatch, capsys):
    folders = []
    monkeypatch.setattr(quality, "train_classifier", lambda folder: folders.append(folder) or {"test_accuracy": 0.995})
    assert __main__.main(["classifier"]) == 0
    assert __main__.main(["classifier", "--folder", str(tmp_path / "mine")]) == 0
    assert folders == [runs.runs_folder() / "classifier", tmp_path / "mine"]
    assert "99.50%" in capsys.readouterr().out
    monkeypatch.undo()
    (tmp_path / "file").write_text("")
    assert __main__.main(["classifier", "--folder", str(tmp_path / "file")]) == 2
    assert "choose another folder" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        __main__.main(["classifier", "--nosuch"])


def test_other_data_need_a_classifier_of_their_own(digits, held_out, monkeypatch):
    other = Digits(-digits.images, digits.labels)
    monkeypatch.setattr(classifier, "load_mnist", lambda split="train": other)
    with pytest.raises(ValueError, match=r"LABUTILS_DATA .* not MNIST's.*python -m labutils classifier"):
        quality.digit_classifier.__wrapped__()
    few = Digits(other.images[:256], other.labels[:256])
    monkeypatch.setattr(classifier, "MIN_SAMPLES", 100)
    own = {"train": few, "test": Digits(-held_out.images[:256], held_out.labels[:256])}
    monkeypatch.setattr(classifier, "load_mnist", lambda split="train": own[split])
    record = quality.train_classifier(runs.runs_folder() / "classifier", epochs=1)
    network = quality.digit_classifier.__wrapped__()
    assert runs.digest(network.state_dict()) == record["weights_sha256"]
    monkeypatch.setattr(classifier, "load_mnist", lambda split="train": other)  # the record names other images
    with pytest.raises(ValueError, match="python -m labutils classifier"):
        quality.digit_classifier.__wrapped__()


@pytest.mark.parametrize("grad", [True, False])
def test_the_quick_pooling_is_that_of_pytorch(grad):
    x = torch.randn(3, 4, 6, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(classifier.MaxPool(2)(x.requires_grad_(grad)), torch.nn.functional.max_pool2d(x, 2))


def thousands(split: Digits, count=2_000, keep=range(10)) -> Digits:
    """Some images of a split, of some digits."""
    chosen = torch.isin(split.labels, torch.tensor(list(keep))).nonzero().flatten()[:count]
    return Digits(split.images[chosen], split.labels[chosen])


UNFIT = {  # own data: how they are made of training and test images -> what is said of them
    "800 images": (lambda train, test: (thousands(train, 800), test), "800 training images are too few .* 2,000 are"),
    "800 test images": (lambda train, test: (train, thousands(test, 800)), "800 test images are too few to score by"),
    "five classes": (
        lambda train, test: (thousands(train, keep=range(5)), thousands(test, keep=range(5))),
        "labels of the training images are 0, 1, 2, 3, 4; scores need ten, 0 to 9.* not scored",
    ),
    "letters": (
        lambda train, test: (Digits(train.images, train.labels + 1), test),
        "labels of the training images are 1, 2, 3, 4, 5, 6, 7, 8, 9, 10; scores need ten, 0 to 9",
    ),
}


@pytest.mark.parametrize("name", UNFIT)
def test_data_that_cannot_be_scored_are_refused_at_once(name, digits, held_out, tmp_path, monkeypatch, capsys):
    make, said = UNFIT[name]
    for split, (images, labels) in zip(("train", "t10k"), make(thousands(digits), thousands(held_out)), strict=True):
        write(tmp_path, unscale(images)[:, 0], labels.to(torch.uint8), split)
    monkeypatch.setenv("LABUTILS_DATA", str(tmp_path))
    monkeypatch.setattr(classifier, "_fit", None)  # minutes
    with pytest.raises(ValueError, match=said):
        quality.digit_classifier.__wrapped__()
    with pytest.raises(ValueError, match=said):
        quality.train_classifier(tmp_path / "classifier")
    with pytest.raises(ValueError, match=said):
        quality.defects(2_000)
    assert quality.real_digits().samples == 10_000  # MNIST's, beneath the study of MNIST
    assert "LABUTILS_DATA names other images" in capsys.readouterr().out


@pytest.mark.parametrize("fault", ["sorted", "copied"])
def test_test_images_that_tell_no_copies_are_refused_in_a_sentence(fault, digits, held_out, monkeypatch, tmp_path):
    train = thousands(digits)
    order = held_out.labels.argsort(stable=True)
    test = Digits(held_out.images[order], held_out.labels[order]) if fault == "sorted" else train
    with pytest.raises(ValueError, match=r"Of digit [0-9] the first 2,000 test images hold none, or .* Shuffle"):
        classifier.statistics(quality.digit_classifier(), train, test)
    monkeypatch.setattr(classifier, "_fit", None)  # minutes, before which it is said
    monkeypatch.setattr(classifier, "load_mnist", lambda split: test)
    with pytest.raises(ValueError, match=r"Of digit [0-9] the first 2,000 test images hold none, or .* Shuffle"):
        quality.train_classifier(tmp_path / "classifier", train)
