"""The lab's training beside the loop that everybody copies: `make bench`, about six minutes on two cores.

Both on the device that "auto" takes here; "labutils, auto" is what a student gets, "labutils, float32" the plain loop's
own bits. All variants take turns, a slice of an epoch each, so that a busy neighbour troubles them alike; what counts
is the ratio of the medians. Writes results.md, results.json and results.png into benchmarks/results/.
"""

import argparse
import gzip
import itertools
import json
import multiprocessing
import platform
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
import torchvision
from matplotlib.figure import Figure
from torch import nn
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

from labutils.data import ASSETS, load_mnist
from labutils.engine.machine import choose_device, describe, said
from labutils.training import TrainConfig, train

BATCH = 128
SLICE = {"mlp": 60, "dcgan": 20}  # batches in a turn on a CPU
ON_A_GPU = 400  # and there
RESULTS = Path(__file__).parent / "results"
VARIANTS = ["plain, 0 workers", "plain, 2 workers", "labutils, float32", "labutils, auto"]


def plain_networks(model: str) -> tuple[nn.Module, nn.Module]:
    """The report's networks, of torch.nn alone, with its initialisation."""

    def weights_init(m):
        if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(m.weight, 0.0, 0.02)
        elif isinstance(m, nn.BatchNorm2d):
            nn.init.normal_(m.weight, 1.0, 0.02)
            nn.init.zeros_(m.bias)

    if model == "mlp":
        widths = [100, 256, 512, 1024]
        hidden = [layer for a, b in itertools.pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())]
        generator = nn.Sequential(*hidden, nn.Linear(1024, 784), nn.Tanh(), nn.Unflatten(1, (1, 28, 28)))
        widths = [784, 1024, 512, 256]
        hidden = [
            layer for a, b in itertools.pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU(), nn.Dropout(0.3))
        ]
        discriminator = nn.Sequential(nn.Flatten(), *hidden, nn.Linear(256, 1), nn.Sigmoid())
    else:
        generator = nn.Sequential(
            nn.Linear(100, 6272),
            nn.BatchNorm1d(6272),
            nn.ReLU(),
            nn.Unflatten(1, (128, 7, 7)),
            nn.ConvTranspose2d(128, 64, 4, 2, 1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 1, 4, 2, 1),
            nn.Tanh(),
        )
        discriminator = nn.Sequential(
            nn.Conv2d(1, 64, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(64, 128, 4, 2, 1),
            nn.BatchNorm2d(128),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(6272, 1),
            nn.Sigmoid(),
        )
    return generator.apply(weights_init), discriminator.apply(weights_init)


def batches(model: str) -> int:
    """In a turn."""
    return SLICE[model] if choose_device().type == "cpu" else ON_A_GPU


class Plain:
    """The report's loop as printed: MNIST from a folder, DataLoader, BCELoss on Sigmoid, Adam."""

    def __init__(self, model: str, workers: int, root: str):
        torch.manual_seed(0)
        transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])
        self.dataset = datasets.MNIST(root, train=True, download=False, transform=transform)
        self.workers, self.batches = workers, batches(model)
        self.device = choose_device()
        self.generator, self.discriminator = (network.to(self.device) for network in plain_networks(model))
        self.g_optimizer = torch.optim.Adam(self.generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.d_optimizer = torch.optim.Adam(self.discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.criterion = nn.BCELoss()

    def turn(self) -> float:
        """Seconds a batch, the start of the workers and the first batch left out."""
        subset = Subset(self.dataset, range((self.batches + 1) * BATCH))
        loader = DataLoader(subset, batch_size=BATCH, shuffle=True, num_workers=self.workers)
        for i, (real, _) in enumerate(loader):
            if i == 1:
                start = time.perf_counter()
            self.step(real)
        return (time.perf_counter() - start) / self.batches

    def step(self, real):
        real = real.to(self.device)
        real_label, fake_label = (torch.full((len(real), 1), label, device=self.device) for label in (1.0, 0.0))
        self.d_optimizer.zero_grad()
        fake = self.generator(torch.randn(len(real), 100, device=self.device))
        d_loss_real = self.criterion(self.discriminator(real), real_label)
        d_loss_fake = self.criterion(self.discriminator(fake.detach()), fake_label)
        d_loss = d_loss_real + d_loss_fake
        d_loss.backward()
        self.d_optimizer.step()
        self.g_optimizer.zero_grad()
        g_loss = self.criterion(self.discriminator(fake), real_label)
        g_loss.backward()
        self.g_optimizer.step()
        return d_loss.item(), g_loss.item()


class Ours:
    """`labutils.training.train`, resumed for one short epoch a turn."""

    def __init__(self, model: str, precision: str, folder: Path):
        self.images = load_mnist().images[: batches(model) * BATCH]
        threads = torch.get_num_threads()  # those of the plain loop, not what `train` finds best at the moment
        self.config = TrainConfig(model=model, precision=precision, epochs=1, threads=threads)
        self.folder = folder / f"{model}-{precision}"

    def turn(self) -> float:
        """Seconds a batch. What `train` does once an epoch, a save, is measured over whole epochs further down."""
        run = train(self.config, self.folder, images=self.images, resume=True, progress=False)
        # each call records a GPU's graphs anew, in its first epoch: there the second one counts
        self.config = replace(self.config, epochs=run.epochs + (1 if run.config["machine"]["device"] == "cpu" else 2))
        return run.history[-1]["seconds"] * BATCH / len(self.images)


def products(model: str) -> list[tuple[int, int, int]]:
    """The matrix products (rows, inner, columns) of one step at batch 128; a convolution as the product that it is."""
    if model == "mlp":
        g = [(100, 256), (256, 512), (512, 1024), (1024, 784)]
        d = [(784, 1024), (1024, 512), (512, 256), (256, 1)]
        g, d = ([(BATCH, a, b) for a, b in net] for net in (g, d))
    else:
        g = [(BATCH, 100, 6272), (BATCH * 49, 128, 1024), (BATCH * 196, 64, 16)]
        d = [(BATCH * 196, 16, 64), (BATCH * 49, 1024, 128), (BATCH, 6272, 1)]

    def of_weights(net):
        return [(k, n, m) for n, k, m in net]

    def of_inputs(net):
        return [(n, m, k) for n, k, m in net]

    g_step = g + of_weights(g) + of_inputs(g[1:])  # forward; backward, z needs no gradient
    d_step = 2 * (d + of_weights(d) + of_inputs(d[1:]))  # on real and on fake; the images need none
    return g_step + d_step + d + of_inputs(d)  # D passes G its gradient; its own weights need none


def gemm_rate(model: str, dtype: torch.dtype) -> float:
    """FLOP/s of those products alone: on a CPU by the faster of the two libraries in PyTorch (oneDNN, MKL)."""
    device = choose_device()
    pairs = [(torch.randn(n, k).to(device, dtype), torch.randn(k, m).to(device, dtype)) for n, k, m in products(model)]
    ways = [lambda a, b: a @ b]
    if device.type == "cpu" and hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        ways.append(lambda a, b: torch.ops.mkldnn._linear_pointwise(a, b.t(), None, "none", [], ""))
    seconds = []
    for way in ways:
        for _ in range(2):  # the first round warms up
            start = time.perf_counter()
            for a, b in pairs:
                last = way(a, b)
            last[0, 0].item()  # a GPU has then done them all
            took = time.perf_counter() - start
        seconds.append(took)
    return flops(model) / min(seconds)


def flops(model: str) -> int:
    """Useful floating-point operations of one step at batch 128: two a multiply-add."""
    return sum(2 * n * k * m for n, k, m in products(model))


class Turns:
    """A variant in a process of its own, as its user would run it; it works only while it has its turn."""

    def __init__(self, name: str, model: str, root: str, folder: Path, threads: int):
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, name, model, root, folder, threads))
        self.process.start()

    def turn(self) -> float:
        """Seconds a batch."""
        self.connection.send(True)
        return self.connection.recv()

    def end(self) -> int:
        """The peak of the process's memory, in bytes."""
        self.connection.send(False)
        peak = self.connection.recv()
        self.process.join()
        return peak


def _serve(connection, name: str, model: str, root: str, folder: Path, threads: int) -> None:
    torch.set_num_threads(threads)
    loop, kind = name.split()[0].rstrip(","), name.split()[1]
    variant = Plain(model, int(kind), root) if loop == "plain" else Ours(model, kind, folder)
    while connection.recv():
        connection.send(variant.turn())
    connection.send(_peak_memory())


def compare(model: str, repeats: int, root: str, folder: Path, precision: str) -> dict:
    """Seconds a batch of each variant in turn, and the rate of the bare matrix products in the same minutes."""
    variants = {name: Turns(name, model, root, folder, torch.get_num_threads()) for name in VARIANTS}
    seconds, rates = {name: [] for name in variants}, {dtype: [] for dtype in dict.fromkeys(["float32", precision])}
    for variant in variants.values():
        variant.turn()  # warm-up
    for i in range(repeats):
        for name, variant in variants.items():
            seconds[name].append(variant.turn())
        for dtype, found in rates.items():
            found.append(gemm_rate(model, getattr(torch, dtype)))
        took = ", ".join(f"{name} {1e3 * times[-1]:.1f} ms" for name, times in seconds.items())
        print(f"{model}, repeat {i + 1} of {repeats}: {took}")
    peaks = {name: variant.end() for name, variant in variants.items()}
    return {"seconds": seconds, "gemm": rates, "flops": flops(model), "peak": peaks}


def _measure(kind: str, model: str, images: int, epochs: int, root: str, folder: str, results) -> None:
    """In a process of its own: wall seconds of a whole training, saves included, and the peak of its memory."""
    start = time.perf_counter()
    if kind == "plain":
        loop = Plain(model, 0, root)
        loop.batches = images // BATCH - 1
        for _ in range(epochs):
            loop.turn()
    else:
        config = TrainConfig(model=model, precision=kind, epochs=epochs, images=images)
        train(config, Path(folder) / f"{kind}-{model}-{images}-{epochs}", progress=False)
    results.put((time.perf_counter() - start, _peak_memory()))


def _peak_memory() -> int:
    """The peak of this process's resident memory in bytes; 0 where the system does not say."""
    try:  # Linux; getrusage there starts from the memory of the parent process
        lines = Path("/proc/self/status").read_text("utf8").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


def growth(root: str, folder: Path) -> list[dict]:
    """Wall time and peak memory against the number of images and of epochs, each in a fresh process."""
    context, rows = multiprocessing.get_context("spawn"), []
    cases = [("mlp", 1_000, 1), ("mlp", 10_000, 1), ("mlp", 60_000, 1), ("mlp", 10_000, 2), ("mlp", 10_000, 4)]
    cases += [("mlp", 10_000, 8), ("dcgan", 10_000, 1)]
    for kind, chosen in (("auto", cases), ("plain", [("mlp", 10_000, 1), ("dcgan", 10_000, 1)])):
        for model, images, epochs in chosen:
            results = context.SimpleQueue()
            process = context.Process(target=_measure, args=(kind, model, images, epochs, root, str(folder), results))
            process.start()
            seconds, memory = results.get()
            process.join()
            row = {"loop": kind, "model": model, "images": images, "epochs": epochs, "seconds": seconds, "peak": memory}
            print(", ".join(f"{key} {value}" for key, value in row.items()))
            rows.append(row)
    return rows


def ratios(result: dict, name: str, baseline: str) -> tuple[float, float, float]:
    """How many times faster than the baseline: ratio of the medians, and the smallest and largest of one repeat."""
    ours, theirs = result["seconds"][name], result["seconds"][baseline]
    each = [b / a for a, b in zip(ours, theirs, strict=True)]
    return statistics.median(theirs) / statistics.median(ours), min(each), max(each)


def table(results: dict) -> str:
    """results.md."""
    about = results["about"]
    lines = [
        "# The lab's training beside the plain loop",
        "",
        "Command: `make bench`. " + " · ".join(f"{key}: {value}" for key, value in about.items()),
        "",
        "Times faster than the plain loop: ratio of the medians, in brackets the range of single repeats.",
        "Share of GEMM: useful FLOP/s over those of the same matrix products alone, in the same minutes.",
        "",
        "| model | loop | ms a batch | against plain, 0 workers | against plain, 2 workers | share of GEMM | peak MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for model in ("mlp", "dcgan"):
        result = results[model]
        for name, seconds in result["seconds"].items():
            cells = [f"{1e3 * statistics.median(seconds):.1f}"]
            for baseline in VARIANTS[:2]:
                middle, low, high = ratios(result, name, baseline)
                cells.append(f"{middle:.2f} ({low:.2f}-{high:.2f})")
            rate = statistics.median(result["gemm"][about["precision"] if "auto" in name else "float32"])
            share = f"{result['flops'] / statistics.median(seconds) / rate:.0%}"
            cells.append(share if about["device"] == "cpu" else "")  # a GPU's products take no longer than their launch
            cells.append(f"{result['peak'][name] / 1e6:.0f}")
            lines.append(f"| {model} | {name} | {' | '.join(cells)} |")
    lines += ["", "GEMM rate, GFLOP/s: "]
    lines[-1] += "; ".join(
        f"{model} {dtype} {statistics.median(rate) / 1e9:.0f}"
        for model in ("mlp", "dcgan")
        for dtype, rate in results[model]["gemm"].items()
    )
    lines += ["", "Whole trainings in a process of their own, start and saves included:", ""]
    lines += ["| loop | model | images | epochs | seconds | peak memory, MB |", "|---|---|---|---|---|---|"]
    for row in results["growth"]:
        lines.append(
            "| {loop} | {model} | {images:,} | {epochs} | {seconds:.1f} | ".format(**row) + f"{row['peak'] / 1e6:.0f} |"
        )
    return "\n".join(lines) + "\n"


def picture(results: dict) -> Figure:
    """results.png: ratios with their ranges; time and memory against images and epochs."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for offset, name in ((-0.18, "labutils, float32"), (0.18, "labutils, auto")):
        for x, model in enumerate(("mlp", "dcgan")):
            ratio, low, high = ratios(results[model], name, VARIANTS[0])
            colour = "tab:blue" if "32" in name else "tab:orange"
            left.bar(x + offset, ratio, 0.34, color=colour, label=name if x == 0 else None)
            left.errorbar(
                x + offset, ratio, [[ratio - min(low, ratio)], [max(high, ratio) - ratio]], color="black", capsize=3
            )
            left.text(x + offset, 0.1, f"{ratio:.2f}", ha="center", color="white")
    left.set(xticks=[0, 1], xticklabels=["MLP", "DCGAN"], ylabel="times faster than the plain loop", title="Speed")
    left.axhline(1, color="grey", linewidth=1)
    left.legend(loc="upper right", fontsize=8)
    ours = [row for row in results["growth"] if row["loop"] != "plain" and row["model"] == "mlp"]
    for axes, key, rows in (
        (middle, "images", [row for row in ours if row["epochs"] == 1]),
        (right, "epochs", [row for row in ours if row["images"] == 10_000]),
    ):
        axes.plot([row[key] for row in rows], [row["seconds"] for row in rows], "o-", color="tab:blue")
        axes.set(xlabel=f"{key} (MLP)", ylabel="seconds", ylim=(0, None), title=f"Time and memory against {key}")
        memory = axes.twinx()
        memory.plot([row[key] for row in rows], [row["peak"] / 1e6 for row in rows], "s--", color="tab:red")
        memory.set(ylim=(0, 1500))
        memory.set_ylabel("peak memory, MB", color="tab:red")
    return figure


def cpu_name() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7, help="turns of each variant (default 7, at least 5)")
    parser.add_argument("--threads", type=int, help="of PyTorch (default: its own choice)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results (default benchmarks/results)")
    arguments = parser.parse_args()
    if arguments.repeats < 5:
        parser.error(f"--repeats is {arguments.repeats}; a median needs at least 5.")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    machine = describe("auto", "auto", arguments.threads)
    print(said(machine))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        raw = folder / "MNIST" / "raw"
        raw.mkdir(parents=True)
        for file in ASSETS.glob("*.gz"):
            (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
        results = {
            "about": {
                "CPU": cpu_name(),
                "threads": torch.get_num_threads(),
                "device": machine["device"],
                "capability": machine["capability"],
                "precision": machine["precision"],
                "why": machine["why"],
                "repeats": arguments.repeats,
                "Python": platform.python_version(),
                "PyTorch": torch.__version__,
                "torchvision": torchvision.__version__,
                "system": platform.platform(terse=True),
            }
        }
        for model in ("mlp", "dcgan"):
            results[model] = compare(model, arguments.repeats, temporary, folder, machine["precision"])
        results["growth"] = growth(temporary, folder)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "results.json").write_text(json.dumps(results, indent=1) + "\n", "utf8")
    (arguments.out / "results.md").write_text(table(results), "utf8")
    picture(results).savefig(arguments.out / "results.png", dpi=110)
    print(table(results))


if __name__ == "__main__":
    main()
