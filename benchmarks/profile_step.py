"""Where the time of one training step goes: `python benchmarks/profile_step.py`, half a minute.

For each model and precision the operations of a few steps, grouped, by torch.profiler; and the floor: the time of the
step's matrix products alone, at the rate measured in the same minute. Writes benchmarks/results/profile.md.
"""

import platform
import statistics
from collections import defaultdict

import torch
from bench import BATCH, RESULTS, cpu_name, flops, gemm_rate
from torch.profiler import ProfilerActivity, profile

from labutils.data import load_mnist
from labutils.engine.machine import choose_precision, describe, numerics
from labutils.training import Players, TrainConfig, one_epoch

STEPS = 20
GROUPS = {  # the first that an operation's name contains
    "convolutions, backward": ["convolution_backward"],
    "convolutions, forward": ["convolution"],
    "matrix products": ["linear_pointwise", "addmm", "aten::mm"],
    "batch norm": ["batch_norm"],
    "Adam": ["_fused_adam", "adam", "sqrt", "addcdiv", "addcmul", "lerp"],
    "random numbers (masks, noise)": ["random_", "normal_"],
    "copies and casts": ["copy_", "clone"],
    "activations and masks": ["relu", "tanh", "threshold", "clamp_min", "mul", "aten::ge"],
}


def group(name: str) -> str:
    """The group of GROUPS that an operation belongs to."""
    return next((g for g, parts in GROUPS.items() if any(part in name.lower() for part in parts)), "everything else")


def one(model: str, precision: str) -> dict[str, float]:
    """Milliseconds a step of each group, of the loop as it trains on a CPU here."""
    config = TrainConfig(model=model, device="cpu", precision=precision, threads=torch.get_num_threads())
    machine = describe(config.device, config.precision, config.threads)
    images = load_mnist("test").images[: STEPS * BATCH]
    with numerics(machine):
        torch.manual_seed(0)
        players = Players.of(config, machine)
        one_epoch(config, players, images, 1, lambda means: None)  # warm-up
        with profile(activities=[ProfilerActivity.CPU]) as record:
            one_epoch(config, players, images, 2, lambda means: None)
    spent = defaultdict(float)
    for event in record.key_averages():
        spent[group(event.key)] += event.self_cpu_time_total / 1000 / STEPS
    return dict(sorted(spent.items(), key=lambda item: -item[1]))


def main() -> None:
    """Profile, and write the table."""
    about = f"{cpu_name()}, {torch.get_num_threads()} threads, Python {platform.python_version()}, {torch.__version__}"
    lines = [
        "# Where a step's time goes",
        "",
        f"`python benchmarks/profile_step.py`: {about}. Milliseconds a batch of 128.",
    ]
    auto, why = choose_precision("auto", torch.device("cpu"))
    for model in ("mlp", "dcgan"):
        for name, precision in (("float32", "float32"), (f"auto ({auto}: {why})", "auto")):
            spent, dtype = one(model, precision), torch.float32 if precision == "float32" else getattr(torch, auto)
            rate = statistics.median(gemm_rate(model, dtype) for _ in range(5))
            floor, total = 1000 * flops(model) / rate, sum(spent.values())
            lines += ["", f"## {model}, {name}: {total:.1f} ms, floor {floor:.1f} ms", ""]
            lines += [f"The floor is its {flops(model) / 1e9:.1f} GFLOP at {rate / 1e9:.0f} GFLOP/s.", ""]
            lines += ["| what | ms | share |", "|---|---|---|"]
            lines += [f"| {name} | {ms:.1f} | {ms / total:.0%} |" for name, ms in spent.items() if ms > 0.005 * total]
    text = "\n".join(lines) + "\n"
    (RESULTS / "profile.md").write_text(text, "utf8")
    print(text)


if __name__ == "__main__":
    main()
