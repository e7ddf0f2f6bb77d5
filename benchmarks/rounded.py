"""Does the MLP at a rate of 1e-3 live in bfloat16 too? Rounded, where no processor has it: `rounded.py SEED ...`.

Inputs, weights and results of every linear layer, and the gradients that it passes back, are rounded to bfloat16; the
sums in between, the losses and Adam are float32, as under autocast. Emulated in float32, it takes a fifth longer than
float32, where real bfloat16 would take twelve times as long. Scores go to benchmarks/results/rounded.json, runs to
build/rounded; what is there goes on.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch
from filelock import FileLock
from torch import Tensor, nn

from labutils.engine import layers
from labutils.engine.files import write_whole
from labutils.engine.machine import choose_precision
from labutils.study import load_study
from labutils.study.one_run import measured
from labutils.training import train

ROW, ROOT = "MLP, rate 1e-3", Path(__file__).parents[1]


def rounded(x: Tensor) -> Tensor:
    """What bfloat16 keeps of x, in float32."""
    return x.bfloat16().float()


class Product(torch.autograd.Function):
    """x @ weight.T + bias as autocast makes it; x (N, K), weight (M, K), bias (M,)."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        x, weight = rounded(x), rounded(weight)
        ctx.save_for_backward(x, weight)
        return rounded(torch.addmm(rounded(bias), x, weight.t()))

    @staticmethod
    def backward(ctx, grad):
        (x, weight), grad = ctx.saved_tensors, rounded(grad)
        to_x = rounded(grad @ weight) if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return to_x, None, None
        return to_x, rounded(grad.t() @ x), rounded(grad.sum(0))


def forward(layer: nn.Linear, x: Tensor) -> Tensor:
    """In place of a linear layer's own."""
    return Product.apply(x, layer.weight, layer.bias)


def main(seeds: list[int], epochs: list[int], folder: Path, results: Path, score=measured, **changes) -> None:
    """Train the row with these seeds, and score it after each of these epochs."""
    if choose_precision("auto", torch.device("cpu"))[0] == "bfloat16":
        raise SystemExit("This processor has bfloat16: `python -m labutils study` trains the row in it.")
    row = next(row for row in load_study().rows if row.name == ROW)
    for seed in seeds:
        for last in epochs:
            config = replace(row.config, seed=seed, epochs=last, **changes)
            with mock.patch.object(nn.Linear, "forward", forward), mock.patch.object(layers.Linear, "forward", forward):
                run = train(config, folder / f"seed={seed}", resume=True, progress=False)
            if run.epochs > last:
                continue
            found = score(run.generator(averaged=True), 10_000, 10_000 + seed)
            keep(results, {"seed": seed, "epoch": last, "processor": run.config["machine"]["capability"]} | found)
            print(f"seed {seed}, epoch {last}: {found}", flush=True)


def keep(results: Path, record: dict) -> None:
    """Put a score among the others, in place of an earlier one of the same seed and epoch."""
    with FileLock(results.with_suffix(".lock"), timeout=60):
        records = json.loads(results.read_text("utf8")) if results.exists() else []
        others = [r for r in records if (r["seed"], r["epoch"]) != (record["seed"], record["epoch"])]
        records = sorted([*others, record], key=lambda r: (r["seed"], r["epoch"]))
        write_whole(results, ("[\n" + ",\n".join(map(json.dumps, records)) + "\n]\n").encode())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("seeds", type=int, nargs="+")
    parser.add_argument("--epochs", type=int, nargs="+", default=[8, 20])
    known = parser.parse_args()
    main(known.seeds, known.epochs, ROOT / "build" / "rounded", ROOT / "benchmarks" / "results" / "rounded.json")
