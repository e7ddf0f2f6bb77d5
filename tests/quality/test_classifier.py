"""The classifier is the recorded one, trains to the same weights again, and is refused for images of another kind."""

import shutil

import pytest
import torch

from labutils import __main__, quality, runs
from labutils.data import Digits
from labutils.quality import classifier


def test_the_classifier_reads_99_of_100_and_is_the_recorded_one(digits, held_out):
    path = classifier.CLASSIFIER / "classifier.safetensors"
    record = runs.read_json(path.with_suffix(".json"))
    logits = quality.digit_classifier()(held_out.images)
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
    assert folders == [runs.runs_folder() / "classifier", str(tmp_path / "mine")]
    assert "99.50%" in capsys.readouterr().out
    monkeypatch.undo()
    (tmp_path / "file").write_text("")
    assert __main__.main(["classifier", "--folder", str(tmp_path / "file")]) == 2
    assert "choose another folder" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        __main__.main(["classifier", "--nosuch"])


def test_other_data_need_a_classifier_of_their_own(digits, monkeypatch):
    other = Digits(-digits.images, digits.labels)
    monkeypatch.setattr(classifier, "load_mnist", lambda split="train": other)
    with pytest.raises(ValueError, match=r"LABUTILS_DATA .* not MNIST's.*python -m labutils classifier"):
        quality.digit_classifier.__wrapped__()
    few = Digits(other.images[:256], other.labels[:256])
    monkeypatch.setattr(classifier, "load_mnist", lambda split="train": few)
    record = quality.train_classifier(runs.runs_folder() / "classifier", epochs=1)
    network = quality.digit_classifier.__wrapped__()
    assert runs.digest(network.state_dict()) == record["weights_sha256"]
    monkeypatch.setattr(classifier, "load_mnist", lambda split="train": other)  # the record names other images
    with pytest.raises(ValueError, match="python -m labutils classifier"):
        quality.digit_classifier.__wrapped__()


def test_labels_beyond_nine_are_refused(held_out, tmp_path):
    with pytest.raises(ValueError, match="labels go up to 25; the classifier tells ten classes"):
        quality.train_classifier(tmp_path, Digits(held_out.images[:4], torch.tensor([3, 25, 0, 1])))
