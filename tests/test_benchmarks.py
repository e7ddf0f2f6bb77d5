"""The benchmarks follow the house when it moves: each script measures something, on few batches."""

import importlib
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from labutils.data import load_mnist
from labutils.models import build
from labutils.runs import load_run
from labutils.study import load_study
from labutils.training import train


@pytest.fixture
def scripts(monkeypatch):
    """benchmarks/ as a place to import from, and MNIST small."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    yield importlib.import_module("bench"), importlib.import_module("profile_step")
    for name in ("bench", "profile_step"):
        sys.modules.pop(name, None)


def test_both_loops_measure_seconds_of_a_batch(scripts, tmp_path, monkeypatch):
    bench, _ = scripts
    monkeypatch.setitem(bench.SLICE, "mlp", 2)
    digits = load_mnist("test")
    plain = bench.Plain.__new__(bench.Plain)
    monkeypatch.setattr(bench.datasets, "MNIST", lambda *a, **k: [(digits.images[i], 0) for i in range(400)])
    plain.__init__("mlp", 0, str(tmp_path))
    assert 0 < plain.turn() < math.inf
    ours = bench.Ours("mlp", "auto", tmp_path)
    first, second = ours.turn(), ours.turn()
    assert min(first, second) > 0
    assert ours.config.epochs == 3


@pytest.mark.parametrize("model", ["mlp", "dcgan"])
def test_the_floor_counts_every_product_of_a_step(scripts, model):
    """Against PyTorch's own count of one plain step's operations."""
    from torch.utils.flop_counter import FlopCounterMode

    bench, _ = scripts
    generator, discriminator = bench.plain_networks(model)
    real = torch.zeros(bench.BATCH, 1, 28, 28)
    with FlopCounterMode(display=False) as counter:
        fake = generator(torch.randn(bench.BATCH, 100))
        (discriminator(real).mean() + discriminator(fake.detach()).mean()).backward()
        for parameter in discriminator.parameters():
            parameter.requires_grad_(False)
        discriminator(fake).mean().backward()
    assert bench.flops(model) == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_a_profile_names_what_takes_the_time(scripts, monkeypatch):
    _, profile_step = scripts
    monkeypatch.setattr(profile_step, "STEPS", 2)
    spent = profile_step.one("mlp", "float32")
    assert max(spent, key=spent.get) == "matrix products"
    assert spent["Adam"] > 0


def test_a_trial_of_the_hybrid_has_its_networks_and_is_kept_beside_the_others(scripts, tmp_path, monkeypatch):
    trials = importlib.import_module("trials")
    for ours, theirs in zip((trials.TrialGenerator, trials.TrialDiscriminator), build("hybrid"), strict=True):
        made = ours(trials.Options(generator="hybrid", channels=16))
        assert [p.shape for p in made.parameters()] == [p.shape for p in theirs.parameters()]
    monkeypatch.setattr(trials, "relative_cost", lambda options, images: trials.STEPS_A_UNIT / 2)
    monkeypatch.setattr(trials.quality, "sample_many", lambda network, count, seed: network(torch.randn(4, 100)))
    scores = dict.fromkeys(("frechet", "precision", "recall", "density", "coverage"), 0.5)
    monkeypatch.setattr(trials.quality, "score", lambda images: SimpleNamespace(to_dict=lambda: scores))
    common = ["batch_size=4", "cost=1", "--out", str(tmp_path / "trials.json")]
    for name, change in (("one", "loss=relativistic"), ("two", "generator=hybrid"), ("two", "discriminator=conv32")):
        monkeypatch.setattr(sys, "argv", ["trials.py", name, change, *common])
        trials.main()
    kept = json.loads((tmp_path / "trials.json").read_text("utf8"))
    assert [(record["trial"], record["averaged"], record["steps"]) for record in kept] == [
        (name, averaged, 2) for name in ("one", "two") for averaged in (True, False)
    ]
    assert [record["settings"]["discriminator"] for record in kept] == ["mlp", "mlp", "conv32", "conv32"]
    monkeypatch.setattr(sys, "argv", ["trials.py", "three", "colour=red"])
    with pytest.raises(SystemExit):
        trials.main()


def test_a_row_measured_later_stands_in_its_place_and_says_so(scripts):
    costs = importlib.import_module("costs")
    old = {
        "step": {costs.BASE: 1, "c": 3, "gone": 9},
        "range": {costs.BASE: [1, 1], "c": [3, 3]},
        "later": {"c": "before"},
    }
    new = {"step": {costs.BASE: 1, "b": 2}, "range": {costs.BASE: [1, 1], "b": [1, 3]}, "rounds": 5, "machine": "here"}
    table = costs._beside(old, new, dict.fromkeys((costs.BASE, "b", "c")))
    assert list(table["step"].items()) == [(costs.BASE, 1), ("b", 2), ("c", 3)]
    assert table["range"]["b"] == [1, 3]
    assert table["later"] == {"c": "before", "b": "5 rounds, here"}


def test_a_rounded_product_is_that_of_autocast(scripts):
    """Up to the order of float32 sums, which moves a result by one bfloat16 number now and then."""
    from labutils.engine.layers import Linear

    rounded = importlib.import_module("rounded")
    torch.manual_seed(0)
    layer, x = Linear(40, 24), torch.randn(16, 40)
    found = []
    for way in (layer, lambda x: rounded.forward(layer, x)):
        own = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=way is layer):
            out = way(own)
        (out.float() * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
        found.append([out.float(), own.grad, layer.weight.grad, layer.bias.grad])
        layer.zero_grad()
    for theirs, ours in zip(*found, strict=True):
        close = torch.isclose(ours, theirs, rtol=2**-7, atol=1e-6)
        assert close.all()
        assert (ours == theirs).float().mean() > 0.9
        assert torch.equal(ours.bfloat16().float(), ours)
    sys.modules.pop("rounded")


@pytest.mark.thorough
def test_rounded_runs_are_scored_and_kept(scripts, tmp_path, monkeypatch):
    rounded = importlib.import_module("rounded")
    monkeypatch.setattr(rounded, "choose_precision", lambda *a: ("float32", ""))
    few = {"images": 256, "batch_size": 128}
    for _ in range(2):  # the second goes on, and finds all done
        rounded.main([3], [1, 2], tmp_path, tmp_path / "r.json", lambda g, n, s: {"coverage": s}, **few)
    records = json.loads((tmp_path / "r.json").read_text("utf8"))
    assert [(r["seed"], r["epoch"], r["coverage"]) for r in records] == [(3, 1, 10_003), (3, 2, 10_003)]
    config = next(row for row in load_study().rows if row.name == rounded.ROW).config
    plain = train(replace(config, seed=3, epochs=1, **few), tmp_path / "plain", progress=False)
    assert plain.history[0]["d_loss"] != load_run(tmp_path / "seed=3").history[0]["d_loss"]
    assert torch.nn.Linear.forward is not rounded.forward
    sys.modules.pop("rounded")
