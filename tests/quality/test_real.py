"""What comes with the lab of the real images is theirs, is used for no others, and stands beneath the study alone."""

import importlib
import json
from pathlib import Path

import pytest
import torch
from idx_files import write

from labutils import quality, runs
from labutils.data import Digits, load_mnist, unscale
from labutils.quality import classifier, metrics, pixels

pytestmark = pytest.mark.thorough

SCORE = importlib.import_module("labutils.quality.score")
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def test_what_is_shipped_is_what_would_be_computed(digits, held_out):
    network = quality.digit_classifier()
    known, about = runs.read_tensors(classifier.CLASSIFIER / classifier.REAL)
    assert about == classifier.signature(network, digits, held_out)
    features = classifier.see(network, digits.images[classifier.references(digits)])[0]  # a sixth of all
    torch.testing.assert_close(known["radii"], metrics.radii(features), rtol=1e-3, atol=1e-3)
    assert {known[name].dtype for name in ("mean", "covariance")} == {torch.float64}
    mean, covariance = metrics.moments(features)
    assert ((mean - known["mean"]).abs() < 5 * (covariance.diag() / len(features)).sqrt() + 1e-6).all()
    assert metrics.frechet_distance(mean, covariance, known["mean"], known["covariance"]) < 1
    ones = held_out.images[:2_000][held_out.labels[:2_000] == 1].flatten(1)
    training = digits.images.flatten(1)
    found = metrics.nearest(ones, training, metrics.squared_norms(training)).median()
    torch.testing.assert_close(found, known["distances"][1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(known["features"], features, rtol=1e-3, atol=1e-3)
    for name, found in pixels.looks(digits).items():
        torch.testing.assert_close(known[name], found, rtol=1e-4, atol=1e-4)
    assert (classifier.CLASSIFIER / classifier.REAL).stat().st_size < 2_800_000


def test_real_digits_are_as_recorded(digits, held_out, real_row, capsys):
    about = runs.read_json(SCORE.REAL_DIGITS)["of"]
    assert about == classifier.signature(quality.digit_classifier(), digits, held_out)
    for name, value in (real_row.to_dict() | {"placement": None, "errors": None}).items():
        if value is not None:
            assert getattr(quality.real_digits(), name) == pytest.approx(value, abs=1e-2)
    assert quality.real_digits().placement == ""
    for name, value in real_row.errors.items():
        assert quality.real_digits().errors[name] == pytest.approx(value, rel=0.1)
    assert quality.real_against_real.__wrapped__() == quality.real_digits()
    assert capsys.readouterr().out == ""


@pytest.fixture
def own(digits, held_out, tmp_path, monkeypatch):
    """2,000 inverted digits as LABUTILS_DATA names them, with a classifier of their own."""
    chosen = torch.randperm(10_000, generator=torch.Generator().manual_seed(0))[:2_000]  # neighbours share a writer
    for split, (images, labels) in {"train": digits, "t10k": held_out}.items():
        write(tmp_path / "data", 255 - unscale(images[chosen])[:, 0], labels[chosen].to(torch.uint8), split)
    monkeypatch.setenv("LABUTILS_DATA", str(tmp_path / "data"))
    quality.train_classifier(runs.runs_folder() / "classifier", epochs=1)
    cached = (classifier.digit_classifier, SCORE.reference, SCORE.real_against_real)
    for function in cached:
        function.cache_clear()
    yield
    for function in cached:
        function.cache_clear()


def computed(monkeypatch) -> list:
    """Grows each time that statistics are computed."""
    calls = []
    monkeypatch.setattr(SCORE, "statistics", lambda *of: calls.append(of) or classifier.statistics(*of))
    return calls


def test_own_data_are_prepared_once_and_never_by_what_is_of_others(own, monkeypatch):
    calls, path = computed(monkeypatch), runs.runs_folder() / "classifier" / classifier.REAL
    known = SCORE.reference()
    assert calls == []  # the training left them beside the classifier
    path.write_bytes((classifier.CLASSIFIER / classifier.REAL).read_bytes())  # another's, or
    assert [torch.equal(a, b) for a, b in zip(SCORE.reference.__wrapped__().moments, known.moments, strict=True)]
    path.write_bytes(b"damaged")
    SCORE.reference.__wrapped__()
    path.unlink()
    SCORE.reference.__wrapped__()
    assert len(calls) == 3
    SCORE.reference.__wrapped__()
    assert len(calls) == 3
    assert len(known.features) == 2_000
    assert load_mnist().images.shape == (2_000, 1, 28, 28)


def test_what_came_with_the_lab_is_never_overwritten(digits, held_out, monkeypatch):
    calls, path = computed(monkeypatch), classifier.CLASSIFIER / classifier.REAL
    before, few = path.read_bytes(), Digits(digits.images[:3_000], digits.labels[:3_000])
    monkeypatch.setattr(SCORE, "load_mnist", lambda split="train": few if split == "train" else held_out)
    SCORE.reference.__wrapped__()
    assert len(calls) == 1
    assert path.read_bytes() == before


def test_own_data_are_scored_by_their_own(own):
    real = quality.real_against_real()
    assert real.references == 2_000
    assert real.coverage == pytest.approx(real.expected_coverage, abs=0.1)
    assert real.memorisation == pytest.approx(1, abs=0.1)


def cells(name: str) -> list[str]:
    """The code of a notebook, a string each cell."""
    content = json.loads(next(NOTEBOOKS.glob(f"{name}_*.ipynb")).read_text("utf8"))
    return ["".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == "code"]


def test_beneath_the_study_of_mnist_stands_mnist_whatever_the_data(own, capsys):
    """The cells of notebook 08 that draw or print the study and real digits, with the cells that they need."""
    needed = ("import math", "everything = ", "METRICS = (", "study_boxes(", "goals = ", "recipe = ", "rivals = ")
    needed += ("for goal in goals",)
    names = {"display": lambda figure: None}
    for code in cells("08"):
        if any(part in code for part in needed):
            exec(code, names)
    said = capsys.readouterr().out
    assert "real against real: frechet 1.13; coverage 0.96" in said
    assert said.count("The study is of MNIST, and so is what real digits score; LABUTILS_DATA names other images.") == 3


@pytest.mark.parametrize(("name", "begins"), [("06", "import RARE, real_digits"), ("08", "everything = ")])
def test_no_cell_sets_the_data_in_use_beside_the_study(name, begins):
    code = cells(name)
    first = next(i for i, cell in enumerate(code) if begins in cell)
    study = "\n".join(code[first:])
    assert "real_digits" in study
    assert "real_against_real" not in study
    assert study.count("load_mnist(") == study.count("root=ASSETS")
