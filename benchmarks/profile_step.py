"""Where the time of one training step goes: `python benchmarks/profile_step.py`, half a minute.

For each model and precision the operations of a few steps, grouped, by torch.profiler; and the floor: the time of the
step's matrix products alone, at the rate measured in the same minute. Writes benchmarks/results/profile.md.
"""

import platform
import statistics
from collections import defaultdict

import torch
from bench import BATCH, RESULTS, cpu_name, flops, gemm_rate
from labutils.machine import describe, numerics
from torch.profiler import ProfilerActivity, profile

from labutils.data import load_mnist
from labutils.models import build
from labutils.training import update_discriminator, update_generator

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
    """Milliseconds a step of each group."""
    torch.manual_seed(0)
    generator, discriminator = build(model)
    fused = precision == "bfloat16"
    g_optimizer, d_optimizer = (
        torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999), fused=fused)
        for net in (generator, discriminator)
    )
    images = load_mnist("test").images

    def step(i: int) -> None:
        real = images.index_select(0, torch.arange(i * BATCH, (i + 1) * BATCH))
        with torch.autocast("cpu", torch.bfloat16, enabled=fused):
            fake = generator(torch.randn(BATCH, 100))
            update_discriminator(discriminator, d_optimizer, real, fake)
        with torch.autocast("cpu", torch.bfloat16, enabled=fused):
            update_generator(discriminator, g_optimizer, fake)

    for i in range(STEPS // 2):  # warm-up
        step(i)
    with profile(activities=[ProfilerActivity.CPU]) as record:
        for i in range(STEPS):
            step(i)
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
    with numerics(describe("cpu", "float32", torch.get_num_threads())):
        for model in ("mlp", "dcgan"):
            for precision in ("float32", "bfloat16"):
                spent = one(model, precision)
                rate = statistics.median(gemm_rate(model, getattr(torch, precision)) for _ in range(5))
                floor, total = 1000 * flops(model) / rate, sum(spent.values())
                lines += ["", f"## {model}, {precision}: {total:.1f} ms, floor {floor:.1f} ms", ""]
                lines += [f"The floor is its {flops(model) / 1e9:.1f} GFLOP at {rate / 1e9:.0f} GFLOP/s.", ""]
                lines += ["| what | ms | share |", "|---|---|---|"]
                lines += [
                    f"| {name} | {ms:.1f} | {ms / total:.0%} |" for name, ms in spent.items() if ms > 0.005 * total
                ]
    text = "\n".join(lines) + "\n"
    (RESULTS / "profile.md").write_text(text, "utf8")
    print(text)


if __name__ == "__main__":
    main()
