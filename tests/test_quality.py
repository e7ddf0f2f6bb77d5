"""Each defect moves the metric that is meant to see it; the metrics are those of the libraries; a verdict is true."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import prdc
import pytest
import torch
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from labutils import __main__, models, quality, runs
from labutils.data import Digits, load_mnist
from labutils.quality import Quality, score

N = 2_000  # samples in most tests; the reference is of 8,000 training images in place of 60,000


@pytest.fixture(scope="module")
def held_out():
    return load_mnist("test")


@pytest.fixture(scope="module", autouse=True)
def small_reference(digits):
    chosen = torch.randperm(60_000, generator=torch.Generator().manual_seed(0))[:6_000]  # their order is not random
    images = digits.images[torch.cat([torch.arange(N), chosen])].flatten(1)  # the first N are copied by a defect
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quality, "REFERENCES", 4_000)
        patch.setattr(quality, "_training_images", lambda: (images, images.square().sum(1)))
        clear()
        yield
    clear()


def clear():
    quality._reference.cache_clear()
    quality.real_against_real.cache_clear()


@pytest.fixture(scope="module")
def scores(small_reference, held_out):
    """What N real images score, under "real", and each defect made of the same ones."""
    return {name: score(images) for name, images in ({"real": held_out.images[:N]} | quality.defects(N)).items()}


@pytest.fixture(scope="module")
def features(held_out):
    """(generated, real) features, of 2,000 blurred images and of 2,500 others."""
    return [
        quality._see(quality.digit_classifier(), x)[0] for x in (quality.defects(N)["blurred"], held_out.images[N:4500])
    ]


MOVED = {  # what must have happened to defect q, where real images of the same number score r
    "noise": lambda q, r: (
        q.precision < 0.1 * r.precision and q.density < 0.05 * r.density and q.frechet > 50 * r.frechet
    ),
    "one digit": lambda q, r: q.kl > 0.9 * math.log(10) and q.recall < 0.1 * r.recall and q.smallest_share == 0,
    "one image": lambda q, r: q.distinct == 1 / N and q.coverage < 0.01 * r.coverage and q.recall == 0,
    "ten images": lambda q, r: q.distinct == 10 / N and q.kl < 2 * r.kl and q.coverage < 0.05 * r.coverage,
    "five digits": lambda q, r: abs(q.kl - math.log(2)) < 0.05 and q.coverage < 0.65 * r.coverage,
    "half ones": lambda q, r: (
        abs(q.shares[1] - (1 + r.shares[1]) / 2) < 0.03 and q.smallest_share > 0.3 * r.smallest_share
    ),
    "half noise": lambda q, r: 0.45 < q.precision / r.precision < 0.6 and q.recall > 0.9 * r.recall,
    "dots": lambda q, r: q.density < 0.6 * r.density and q.frechet > 5 * r.frechet,
    "erased": lambda q, r: q.density < 0.8 * r.density and q.confident < r.confident - 0.1,
    "blurred": lambda q, r: q.confident < 0.5 * r.confident and q.density < 0.7 * r.density,
    "shifted": lambda q, r: q.frechet > 5 * r.frechet and q.density < 0.4 * r.density and q.kl < 2 * r.kl,
    "drawn twice": lambda q, r: q.distinct == 0.5 and q.coverage < 0.85 * r.coverage,
    "copies": lambda q, r: (
        q.memorisation < 0.01 * r.memorisation and q.frechet < r.frechet and q.kid < r.kid + 2 * r.kid_sd
    ),
}
HEADS = ["Not digits", "Distorted", "Digits missing", "Too frequent", "Repeated", "Variety is lost", "Some variety"]
HEADS += ["Copies", "Differs from real", "No sign of collapse"]
SAID = {  # the sentences of the verdict, by their first words, and what must stand in it
    "real": (["No sign of collapse"], "ten digits"),
    "noise": (["Not digits"], "precision 0.0"),
    "one digit": (["Digits missing", "Too frequent", "Repeated", "Variety is lost"], "7 is 100%"),
    "one image": (["Digits missing", "Too frequent", "Repeated", "Variety is lost"], "2,000 samples show 1 picture "),
    "ten images": (["Repeated", "Variety is lost"], "show 10 pictures"),
    "five digits": (["Digits missing", "Too frequent", "Some variety"], "rare: 5, 6, 7, 8, 9 (below 2%)"),
    "half ones": (["Too frequent", "Repeated", "Some variety"], "1 is 5"),
    "half noise": (["Distorted", "Too frequent", "Some variety"], "mixed with what is no digit: density 0.4"),
    "dots": (["Distorted", "Variety is lost"], "density 0."),
    "erased": (["Distorted", "Variety is lost"], "density 0."),
    "blurred": (["Distorted", "Too frequent", "Variety is lost"], "confident 0."),
    "shifted": (["Distorted", "Variety is lost"], "density 0."),
    "drawn twice": (["Repeated", "Some variety"], "show 1,000 pictures"),
    "copies": (["Copies"], "at 0.00 of"),
}


@pytest.mark.parametrize("name", MOVED)
def test_a_defect_moves_the_metric_that_is_meant_to_see_it(scores, name):
    assert MOVED[name](scores[name], scores["real"]), scores[name]


@pytest.mark.parametrize("name", MOVED)
def test_real_images_do_not_pass_for_a_defect(scores, name):
    assert not MOVED[name](scores["real"], scores["real"])


@pytest.mark.parametrize("name", SAID)
def test_the_verdict_says_what_is_wrong(scores, name):
    heads, text = SAID[name]
    verdict = scores[name].verdict
    assert [head for head in HEADS if head in verdict] == sorted(heads, key=HEADS.index), verdict
    assert text in verdict


def test_every_defect_has_its_line_and_its_tests(scores):
    assert set(MOVED) | {"real"} == set(SAID) == set(scores)
    assert [name for name in MOVED if f"\n    {name}: " not in quality.defects.__doc__] == []


def test_all_real_test_images_score_what_the_thresholds_take_for_real():
    real = quality.real_against_real()
    assert {key: getattr(real, key) for key in quality.REAL} == pytest.approx(quality.REAL, abs=0.03)
    assert real.coverage == pytest.approx(real.expected_coverage, abs=0.02)
    assert real.memorisation == pytest.approx(1, abs=0.03)
    assert real.frechet < 2.5
    assert "No sign of collapse" in real.verdict
    assert quality.real_against_real() is real


@pytest.mark.parametrize("level", [0.0, 0.03, -1.0, 1.0])
def test_a_dead_generator_is_scored_and_not_taken_for_a_wrong_range(level):
    dead = score(torch.full((N, 1, 28, 28), level))
    assert "2,000 samples show 1 picture " in dead.verdict
    assert dead.verdict.startswith(("Not digits", "Distorted") if level == -1 else "Not digits")  # all black: like a 1
    assert all(map(math.isfinite, (dead.frechet, dead.kid, dead.kid_sd, dead.memorisation)))


def test_the_verdict_on_generators(scores):
    torch.manual_seed(0)
    untrained = score(quality.draw(models.build("dcgan", init="default")[0], N))
    assert untrained.verdict.startswith("Not digits")
    report, dead = (
        score(quality.draw(runs.load_run(runs.shipped(name)).generator(), N)) for name in ("mlp_report", "mlp_default")
    )
    assert "Repeated: 2,000 samples show 1 picture " in dead.verdict
    assert "Digits missing" not in report.verdict
    assert "Too frequent: 1 is 2" in report.verdict
    assert "Some variety is missing" in report.verdict
    assert scores["real"].frechet < report.frechet < dead.frechet


def test_the_thresholds_are_where_they_are_said_to_be(scores):
    real = scores["real"]
    for field, bound, head in (
        ("precision", quality.NO_DIGITS * quality.REAL["precision"], "Not digits"),
        ("density", quality.OUTSIDE * quality.REAL["density"], "Distorted"),
        ("coverage", quality.VARIED * real.expected_coverage, "Some variety"),
        ("coverage", quality.LOST * real.expected_coverage, "Variety is lost"),
        ("memorisation", quality.COPIED, "Copies"),
        ("distinct", quality.REPEATED, "Repeated"),
    ):
        assert head in replace(real, **{field: bound - 1e-3}).verdict
        assert head not in replace(real, **{field: bound + 1e-3}).verdict
    far = replace(real, frechet=quality.FAR + 0.1)
    assert far.verdict.startswith("Differs from real digits: Fréchet distance 15.1 (above 15 says so)")
    assert replace(far, frechet=quality.FAR - 0.1).verdict.startswith("No sign of collapse")
    for share, text in ((0.019, "rare: 3 (below 2%)"), (0.201, "frequent: 3 is 20% (above 20%)")):
        assert text in replace(real, shares=(0.1, 0.1, 0.1, share, *real.shares[4:])).verdict


def test_a_tenth_of_noise_among_real_digits_is_seen(small_reference, held_out):
    images = held_out.images[:N].clone()
    images[::10] = torch.rand(images[::10].shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert score(images).verdict.startswith("Differs from real digits")


def test_other_images_are_held_to_what_real_ones_of_their_kind_reach(scores, monkeypatch):
    """Of clothes, say, a classifier is less sure than of digits, also of real ones."""
    clothes = replace(scores["real"], confident=0.76)
    assert clothes.verdict.startswith(
        "Distorted, or mixed with what is no digit: confident 0.76 (real: 0.99; below 0.79"
    )
    monkeypatch.setenv("LABUTILS_DATA", "clothes")
    monkeypatch.setattr(quality, "real_against_real", lambda: clothes)
    assert clothes.verdict.startswith("No sign of collapse")
    assert replace(clothes, frechet=9 * clothes.frechet).verdict.startswith("No sign of collapse")
    assert replace(clothes, frechet=11 * clothes.frechet).verdict.startswith("Differs from real")
    worse = replace(clothes, confident=0.6)
    assert worse.verdict.startswith("Distorted, or mixed with what is no digit: confident 0.60 (real: 0.76; below 0.61")


def test_the_frechet_distance_is_that_of_torch_fidelity(features):
    generated, real = map(quality._moments, features)
    mine = quality.frechet_distance(*generated, *real)
    theirs = fid_statistics_to_metric(*(fid_features_to_statistics(x.double()) for x in features), verbose=False)
    assert mine == pytest.approx(theirs["frechet_inception_distance"], rel=1e-9)
    traces = 2 * float(real[1].trace())  # they cancel for a set with itself, up to the rounding of the processor
    assert 0 <= quality.frechet_distance(*real, *real) <= 1e-8 * traces


def test_the_frechet_distance_to_a_single_image_is_known(features):
    mean, covariance = quality._moments(features[1])
    single = quality._moments(features[0][:1].expand(N, 64))
    exact = float((single[0] - mean).square().sum() + covariance.trace())
    assert quality.frechet_distance(*single, mean, covariance) == pytest.approx(exact, rel=1e-9)


def test_kid_is_that_of_torch_fidelity(features):
    generated, real = (x.double() for x in features)
    pairs = [(generated[:1000], real[:1000]), (generated[1000:], real[1000:2000])]
    settings = {"kid_subsets": 1, "kid_subset_size": 1000, "verbose": False}
    theirs = [kid_features_to_metric(*pair, **settings)["kernel_inception_distance_mean"] for pair in pairs]
    mine = quality.kernel_distance(*features)
    assert mine["kid"] == pytest.approx(np.mean(theirs), rel=1e-9)
    assert mine["kid_sd"] == pytest.approx(np.std(theirs, ddof=1), rel=1e-6)


def test_kid_has_no_bias(features):
    same = [quality.kernel_distance(features[1][torch.randperm(2500)], features[1])["kid"] for _ in range(3)]
    assert abs(np.mean(same)) < 0.02 * quality.kernel_distance(*features)["kid"]


def test_neighbourhoods_are_those_of_prdc_and_torch_fidelity(features):
    mine, (generated, real) = quality.neighbourhoods(*features), features
    theirs = prdc.compute_prdc(real.double().numpy(), generated.double().numpy(), nearest_k=5)
    assert mine == pytest.approx({key: float(value) for key, value in theirs.items()}, abs=0.001)
    settings = {"prc_neighborhood": 5, "prc_batch_size": 1000, "save_cpu_ram": False, "verbose": False}
    theirs = prc_features_to_metric(generated, real, **settings)
    assert {key: mine[key] for key in ("precision", "recall")} == pytest.approx(
        {key: theirs[key] for key in ("precision", "recall")}, abs=0.001
    )


def test_expected_coverage_is_what_equal_distributions_reach():
    random = torch.Generator().manual_seed(0)
    real, other = torch.randn(quality.REFERENCES, 8, generator=random), torch.randn(N, 8, generator=random)
    expected = Quality(**dict.fromkeys(Quality.__dataclass_fields__, 0) | {"samples": N}).expected_coverage
    assert quality.neighbourhoods(other, real)["coverage"] == pytest.approx(expected, abs=0.02)


def test_memorisation_is_of_the_nearest_training_image_and_of_the_same_digit(held_out):
    images = held_out.images[3:6]
    nearest = torch.cdist(images.flatten(1).double(), quality._training_images()[0].double()).amin(1)
    assert quality._nearest(images).double() == pytest.approx(nearest, rel=1e-4)
    ones = held_out.images[held_out.labels == 1]
    assert score(ones.repeat(2, 1, 1, 1)).memorisation == pytest.approx(1, abs=0.1)  # 0.4 against all digits


def test_a_score_is_repeatable_and_leaves_the_random_state(scores, held_out):
    generator, threads = models.build("mlp")[0].train(), torch.get_num_threads()
    before = torch.get_rng_state()
    assert score(held_out.images[:N]) == scores["real"]
    assert torch.equal(quality.draw(generator, 50, seed=3), quality.draw(generator, 50, seed=3))
    assert not torch.equal(quality.draw(generator, 50, seed=3), quality.draw(generator, 50, seed=4))
    assert torch.equal(torch.get_rng_state(), before)
    assert generator.training
    try:
        torch.set_num_threads(3 - min(threads, 2))
        other = score(held_out.images[:N])
    finally:
        torch.set_num_threads(threads)
    for name, value in other.to_dict().items():
        assert value == pytest.approx(getattr(scores["real"], name), rel=1e-4, abs=1e-3)


def test_a_quality_goes_through_json(scores):
    for one in scores.values():
        assert Quality.from_dict(json.loads(json.dumps(one.to_dict(), allow_nan=False))) == one


def broken(images: torch.Tensor, value: float) -> torch.Tensor:
    images = images.clone()
    images[7, 0, 3, 3] = value
    return images


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda x: x[:1999], r"1,999 images are too few to measure variety \(10,000 is usual\); .* N at least 2,000"),
        (lambda x: (x + 1) / 2, r"looks like \[0, 1\].*images \* 2 - 1"),
        (lambda x: 1 - (x + 1) / 2, r"looks like \[0, 1\]"),
        (lambda x: (x + 1) * 127.5, r"lie in \[0, 255\]; expected \[-1, 1\]"),
        (lambda x: x * 1.01, r"lie in \[-1.01, 1.01\]"),
        (lambda x: broken(x, math.nan), r"1 of 2,000 images hold NaN .* training diverged"),
        (lambda x: broken(x, math.inf), r"1 of 2,000 images hold NaN or infinity"),
        (lambda x: x[:, 0], r"shape \(2000, 28, 28\)"),
        (lambda x: x.flatten(1), r"shape \(2000, 784\).*reshape"),
        (lambda x: ((x + 1) * 127.5).to(torch.uint8), r"torch.uint8; .*labutils.data.scale"),
        (lambda x: x.numpy(), "of type ndarray; expected a float tensor"),
    ],
)
def test_what_cannot_be_scored_is_refused_in_a_sentence(held_out, spoil, said):
    with pytest.raises(ValueError, match=said):
        score(spoil(held_out.images[:N]))


def test_the_classifier_reads_99_of_100_and_is_the_recorded_one(digits, held_out):
    path = quality.CLASSIFIER / "classifier.safetensors"
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
    shutil.copytree(quality.CLASSIFIER, tmp_path / "classifier")
    monkeypatch.setattr(quality, "CLASSIFIER", tmp_path / "classifier")
    path = tmp_path / "classifier" / "classifier.safetensors"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(runs.RunError, match=r"classifier cannot be read .*SHA-256.* Reinstall labutils"):
        quality.digit_classifier.__wrapped__()


def test_a_classifier_trains_to_the_same_weights_whatever_came_before(digits, held_out, tmp_path, monkeypatch):
    few = Digits(digits.images[:512], digits.labels[:512])
    monkeypatch.setattr(quality, "load_mnist", lambda split="train": Digits(*(part[:100] for part in held_out)))
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
    monkeypatch.setattr(quality, "load_mnist", lambda split="train": other)
    with pytest.raises(ValueError, match=r"LABUTILS_DATA .* not MNIST's.*python -m labutils classifier"):
        quality.digit_classifier.__wrapped__()
    few = Digits(other.images[:256], other.labels[:256])
    monkeypatch.setattr(quality, "load_mnist", lambda split="train": few)
    record = quality.train_classifier(runs.runs_folder() / "classifier", epochs=1)
    network = quality.digit_classifier.__wrapped__()
    assert runs.digest(network.state_dict()) == record["weights_sha256"]
    monkeypatch.setattr(quality, "load_mnist", lambda split="train": other)  # the record names other images
    with pytest.raises(ValueError, match="python -m labutils classifier"):
        quality.digit_classifier.__wrapped__()


def test_labels_beyond_nine_are_refused(held_out, tmp_path):
    with pytest.raises(ValueError, match="labels go up to 25; the classifier tells ten classes"):
        quality.train_classifier(tmp_path, Digits(held_out.images[:4], torch.tensor([3, 25, 0, 1])))
