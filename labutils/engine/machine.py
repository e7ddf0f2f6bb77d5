"""What a training is computed on: device, precision, threads; chosen at the start, said, and kept by a resume."""

import contextlib
import ctypes
import platform
import sys
import time
from collections.abc import Iterator

import torch

import labutils

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bfloat16")


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name; "auto" takes cuda, else mps, else cpu. ValueError if there is none of that name."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(device for device, present in there.items() if present))
    if not there[name]:
        raise ValueError(f"device is {name!r}, but PyTorch finds none here; use 'auto' or 'cpu'.")
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> tuple[str, str]:
    """("float32" or "bfloat16", why); "auto" takes bfloat16 where the hardware computes in it."""
    if device.type == "cuda":
        able = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        found = getattr(torch.cpu, "get_capabilities", dict)() if device.type == "cpu" else {}
        able = any(found.get(key) for key in ("avx512_bf16", "amx_bf16", "bf16"))
    hardware = f"this {device.type} {'has' if able else 'has no'} bfloat16 arithmetic"
    if name == "auto":
        return "bfloat16" if able else "float32", hardware
    return name, "as asked" if able or name == "float32" else f"as asked, but {hardware}: expect it to be slow"


def choose_threads(count: int | None = None) -> tuple[int, str]:
    """(threads of the CPU, why). None: PyTorch's own number, or one thread where that is faster at the moment.

    A layer of the MLP is over in a millisecond; where another process holds a core, threads wait for one another
    after each. Measured for a quarter of a second.
    """
    if count:
        return count, "as asked"
    several = torch.get_num_threads()
    if several == 1:
        return 1, "PyTorch's choice"
    x, weights = torch.ones(128, 1024), torch.ones(1024, 1024)  # nothing random: the caller's state stays
    seconds = {1: [], several: []}
    try:
        for _ in range(6):
            for threads, times in seconds.items():
                torch.set_num_threads(threads)
                start = time.perf_counter()
                for _ in range(4):
                    torch.relu(x @ weights)
                times.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(several)
    one, many = (sum(times[1:]) for times in seconds.values())  # the first turn warms up
    return (several, f"{one / many:.1f} times as fast as 1") if many < one else (1, f"faster than {several} now")


def describe(device: str, precision: str, threads: int | None) -> dict:
    """What config.json says of the machine, for the choices of a TrainConfig."""
    chosen = choose_device(device)
    chosen_precision, why = choose_precision(precision, chosen)
    chosen_threads, why_threads = choose_threads(threads) if chosen.type == "cpu" else (torch.get_num_threads(), "")
    return {
        "device": chosen.type,
        "precision": chosen_precision,
        "why": why,
        "threads": chosen_threads,
        "why_threads": why_threads,
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "labutils": labutils.__version__,
    }


def said(machine: dict) -> str:
    """One line about the choices in `describe`'s dictionary."""
    line = f"{machine['device']}, {machine['precision']} ({machine['why']})"
    if machine["device"] == "cpu":
        reason = machine.get("why_threads")
        line += f", {machine['threads']} thread{'s' * (machine['threads'] > 1)}{f' ({reason})' * bool(reason)}"
    return line


@contextlib.contextmanager
def numerics(machine: dict) -> Iterator[None]:
    """Threads, random state and denormals of a run inside; the caller's come back afterwards."""
    threads, flushed = torch.get_num_threads(), (torch.tensor([2e-38]) / 10).item() == 0
    torch.set_num_threads(machine["threads"])
    torch.set_flush_denormal(True)  # Adam's moments fill with denormal numbers, which are slow on a CPU
    _keep_freed_memory()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_flush_denormal(flushed)
        torch.set_num_threads(threads)


def _keep_freed_memory() -> None:
    """Have Linux's C library keep the memory of freed tensors for the next ones, instead of giving it back each time.

    Otherwise every batch takes thousands of page faults, a tenth of its time.
    """
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError, OSError):  # another C library than glibc
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(-1, 2**30)  # M_TRIM_THRESHOLD: give back from this size on
            mallopt(-3, 2**25)  # M_MMAP_THRESHOLD, the largest that glibc takes
