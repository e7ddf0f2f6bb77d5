"""What a run shows of itself: an honest one passes each check, and each forgery fails the one that is meant for it."""

import json
import shutil

import class_of
import numpy as np
import pytest
import torch
from PIL import Image

from labutils import quality, runs
from labutils.course.grading import evidence
from labutils.course.grading.pages import say
from labutils.engine.files import read_history, write_history
from labutils.runs import load_run, read_json, read_tensors, write_json, write_tensors

NUMBER, OTHER = "2023000001", "2023000002"
SEED = class_of.seed_of(class_of.COURSE, NUMBER)


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """Short runs by number and model."""
    top = tmp_path_factory.mktemp("honest")
    made = {}

    def run(number=NUMBER, model="mlp", **changes):
        key = f"{number}-{model}" + "".join(f"-{k}={v}" for k, v in changes.items())
        if key not in made:
            made[key] = class_of.trained(top / key, number, model=model, **changes)
        return made[key]

    return run


@pytest.fixture
def copy(honest, tmp_path):
    return lambda *run, **changes: shutil.copytree(honest(*run, **changes), tmp_path / "run")


def states(folder, seed=SEED, claim=None, rescore=False, main=True):
    found = evidence.examine(folder, seed, claim, rescore, main)
    for each in found["findings"]:
        assert "{" not in say(each, "en") + say(each, "zh")
    return {each["check"]: each["state"] for each in found["findings"]}


def rewrite(folder, name, change):
    about = read_json(folder / name)
    change(about)
    write_json(folder / name, about)


@pytest.mark.thorough
@pytest.mark.parametrize("model", ["mlp", "dcgan"])
def test_an_honest_run_passes(model, honest):
    found = evidence.examine(honest(model=model), SEED, None, False)
    assert {each["check"]: each["state"] for each in found["findings"]} == dict.fromkeys(
        ("readable", "seed", "rows", "begins", "steps", "losses_fit", "ends"), "ok"
    )
    assert evidence.verified(found)
    assert found["strip"]
    steps = next(each for each in found["findings"] if each["check"] == "steps")
    assert steps["steps"] == 8
    assert steps["far"] < 1e-5


def test_an_average_and_fast_ways_pass(honest):
    folder = honest(ema=0.9, precision="auto")
    (folder / "generator.safetensors").unlink(missing_ok=True)  # a hand-in holds the average alone
    found = states(folder)
    assert "no" not in found.values()
    assert found["ends"] == "ok"


def test_a_run_of_an_older_lab_passes_but_for_its_first_steps(copy):
    folder = copy()
    (folder / "first_steps.json").unlink()
    found = evidence.examine(folder, SEED, None, False)
    assert evidence.verified(found)
    assert {each["check"] for each in found["findings"] if each["state"] == "open"} == {"steps"}


def test_a_run_of_another_machine_is_not_replayed(copy):
    folder = copy()
    rewrite(folder, "config.json", lambda about: about["machine"].update(device="cuda", precision="bfloat16"))
    found = states(folder)
    assert found["steps"] == "open"
    assert "no" not in found.values()


def test_a_run_that_is_only_compared_needs_no_generator(copy):
    folder = copy()
    (folder / "generator.safetensors").unlink()
    assert "no" not in states(folder, main=False).values()
    assert states(folder)["ends"] == "no"


def no_weights(folder):
    tensors, about = read_tensors(folder / "generator.safetensors")
    write_tensors(folder / "generator.safetensors", {k: v * float("nan") for k, v in tensors.items()}, about)


def other_weights(folder):
    tensors, about = read_tensors(folder / "generator.safetensors")
    write_tensors(folder / "generator.safetensors", {k: v + 0.01 * v.sign() for k, v in tensors.items()}, about)


def other_grid(folder):
    path = sorted((folder / "samples").glob("*.png"))[-1]
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)


def halved(folder):
    rows = read_history(folder / "history.csv")
    write_history(folder / "history.csv", [r | {"d_loss": r["d_loss"] / 2, "g_loss": r["g_loss"] / 2} for r in rows])


def sure(folder):
    rows = read_history(folder / "history.csv")
    write_history(folder / "history.csv", [r | {"d_loss": -1.0, "d_real": 7.0, "d_fake": -7.0} for r in rows])


def halved_steps(folder):
    halved(folder)
    rewrite(folder, "first_steps.json", lambda about: about.update(steps=[[a / 2, b / 2] for a, b in about["steps"]]))


def more_rows(folder):
    rows = read_history(folder / "history.csv")
    write_history(folder / "history.csv", [*rows, rows[-1] | {"epoch": len(rows) + 1}])


def unsigned(folder):
    text = (folder / "history.csv").read_text().replace("0.", "0.0", 1)
    (folder / "history.csv").write_text(text)


def relabelled(folder):
    rewrite(folder, "config.json", lambda about: about["train"].update(seed=SEED))


FORGED = {  # what is done to a run -> the check that fails
    "weights of NaN": (no_weights, {"ends", "generator"}),
    "other weights": (other_weights, {"ends"}),
    "another last grid": (other_grid, {"ends"}),
    "losses halved and signed anew": (halved, {"losses_fit"}),
    "outputs of D that are none": (sure, {"losses_fit"}),
    "first steps halved too": (halved_steps, {"losses_fit", "steps"}),
    "more rows than epochs": (more_rows, {"rows", "ends"}),
    "losses changed, not signed": (unsigned, {"readable"}),
    "another width of the noise": (
        lambda f: rewrite(f, "config.json", lambda a: a["train"].update(z_dim=64)),
        {"begins", "ends", "generator", "steps"},
    ),
    "a learning rate that was not": (
        lambda f: rewrite(f, "config.json", lambda a: a["train"].update(lr=0.1)),
        {"steps"},
    ),
    "settings that are none": (
        lambda f: rewrite(f, "config.json", lambda a: a["train"].update(lr="fast")),
        {"readable"},
    ),
    "a model that is none": (
        lambda f: rewrite(f, "config.json", lambda a: a["train"].update(model="../x")),
        {"readable"},
    ),
    "no first grid": (lambda f: (f / "samples" / "epoch_0000.png").unlink(), {"begins"}),
    "a first grid that is no PNG": (lambda f: (f / "samples" / "epoch_0000.png").write_bytes(b"GIF89a"), {"begins"}),
    "first steps that are no numbers": (lambda f: write_json(f / "first_steps.json", {"steps": [["a"]]}), {"readable"}),
    "weights that are no weights": (
        lambda f: (f / "generator.safetensors").write_bytes(b"\xff" * 99),
        {"ends", "generator", "rows"},
    ),
}


@pytest.mark.thorough
@pytest.mark.parametrize("what", FORGED)
def test_a_forgery_fails_where_it_is_seen(what, copy):
    change, failing = FORGED[what]
    folder = copy()
    change(folder)
    assert {check for check, state in states(folder).items() if state == "no"} == failing


def test_no_cost_is_infinite(copy):
    """Of a class with one that is, no table could be made."""
    folder = copy()
    for spent in (1e308, -1e308):
        rows = read_history(folder / "history.csv")
        write_history(folder / "history.csv", [r | {"cpu_seconds": spent} for r in rows])
        assert 0 <= evidence.examine(folder, SEED, None, False)["cost"] <= 1e7


def test_a_copied_run_under_another_number(copy):
    assert {c for c, s in states(copy(OTHER)).items() if s == "no"} == {"seed"}


def test_a_relabelled_seed(copy):
    folder = copy(OTHER)
    relabelled(folder)
    assert {c for c, s in states(folder).items() if s == "no"} == {"begins", "steps", "ends"}


def test_another_models_generator(copy, honest):
    folder = copy()
    shutil.copy(honest(model="dcgan") / "generator.safetensors", folder / "generator.safetensors")
    assert {c for c, s in states(folder).items() if s == "no"} == {"ends", "generator"}


def test_another_runs_history_of_another_length(copy, honest):
    folder = copy()
    shutil.copy(honest(epochs=3) / "history.csv", folder / "history.csv")
    assert states(folder)["rows"] == "no"


@pytest.mark.thorough
def test_a_score_is_compared_with_the_claim(honest, monkeypatch):
    seen = []
    whole = quality.real_digits()
    monkeypatch.setattr(quality, "sample_many", lambda generator, count, seed: [seed] * count)
    monkeypatch.setattr(quality, "score", lambda images: seen.append(len(images)) or whole)
    claim = whole.to_dict() | {"samples": 2_000, "seed": 7, "averaged": False}
    assert states(honest(), claim=claim, rescore=True)["score"] == "ok"
    assert states(honest(), claim=claim | {"frechet": whole.frechet * 1.01}, rescore=True)["score"] == "ok"
    assert states(honest(), claim=claim | {"frechet": whole.frechet / 2}, rescore=True)["score"] == "no"
    assert states(honest(), claim=claim | {"frechet": float("nan")}, rescore=True)["score"] == "no"
    assert seen == [2_000] * 4
    for odd in ({"samples": 10**9}, {"samples": "many"}, {"seed": -1}, {"seed": 1e300}):
        assert states(honest(), claim=claim | odd, rescore=True)["score"] == "open"
    assert "score" not in states(honest(), claim=["x"], rescore=True)
    monkeypatch.setattr(evidence, "sha256", lambda count: "of other images")  # LABUTILS_DATA here is not the student's
    other = states(honest(), claim=claim | {"frechet": whole.frechet / 2}, rescore=True)
    assert (other["score"], other["steps"]) == ("open", "open")


def probed(generator, seed=1):
    return {"config": {"z_dim": generator.z_dim, "seed": seed}} | evidence.probe(generator)


def test_one_generator_twice_is_found_by_what_it_draws():
    generator = load_run(runs.shipped("mlp_report")).generator()
    noisy, permuted, other = (load_run(runs.shipped("mlp_report")).generator() for _ in range(3))
    with torch.no_grad():
        for parameter in noisy.parameters():
            parameter += 1e-4 * torch.randn_like(parameter)
        order = torch.randperm(256)
        permuted.layers[0].weight.copy_(permuted.layers[0].weight[order])
        permuted.layers[0].bias.copy_(permuted.layers[0].bias[order])
        permuted.layers[2].weight.copy_(permuted.layers[2].weight[:, order])
        other.layers[0].weight.copy_(other.layers[0].weight.flip(1))
    found = evidence.twins([probed(g) for g in (generator, noisy, permuted, other)])
    assert sorted((i, j) for i, j, _ in found) == [(0, 1), (0, 2), (1, 2)]
    assert max(far for *_, far in found) < 0.01


def test_collapsed_generators_accuse_nobody():
    dead = [load_run(runs.shipped("mlp_default")).generator() for _ in range(2)]
    assert evidence.twins([probed(generator) for generator in dead]) == []


def test_no_honest_history_of_the_study_breaks_the_bound_and_each_halved_one_does():
    from labutils.config import TrainConfig
    from labutils.study.rows import SHIPPED

    seen = 0
    for path in sorted(SHIPPED.glob("*/seed=*/history.csv")):
        run = load_run(path.parent)
        config = TrainConfig(loss=run.config["train"]["loss"], r1=run.config["train"].get("r1", 0))
        state = evidence.losses_fit(run, config)["state"]
        assert state in ("ok", "open"), path
        if state == "ok":
            seen += 1
            run.history = [row | {"d_loss": row["d_loss"] / 2} for row in run.history]
            assert evidence.losses_fit(run, config)["state"] == "no", path
    assert seen > 50


def test_texts_in_a_config_stay_texts(copy):
    folder = copy()
    rewrite(folder, "config.json", lambda about: about["machine"].update(system="<script>", torch="=1+1"))
    found = evidence.examine(folder, SEED, None, False)
    assert "<script>" not in json.dumps(found["config"])
