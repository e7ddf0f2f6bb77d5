"""What a training is computed on: device, precision, threads; chosen at the start, said, and kept by a resume."""

import contextlib
import ctypes
import functools
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch

import labutils
from labutils.engine import capture
from labutils.engine.files import RunError
from labutils.engine.layers import Linear, onednn_products

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bfloat16")
_in_use = threading.RLock()  # while a thread computes by `numerics`


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name; ValueError if there is none of it here.

    "auto" takes what the environment variable LABUTILS_DEVICE names, else cuda, else mps, else cpu: each only after a
    tiny step of training on it went well, since a driver may offer what it cannot do.
    """
    forced = os.environ.get("LABUTILS_DEVICE") or "auto"
    if forced not in DEVICES:
        raise ValueError(f"LABUTILS_DEVICE is {forced!r}; use one of {', '.join(DEVICES)}.")
    said, name = ("LABUTILS_DEVICE", forced) if name == "auto" else ("device", name)
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(each for each in there if there[each] and (each == "cpu" or not why_not(each))))
    if not there[name]:
        raise ValueError(f"{said} is {name!r}, but PyTorch finds none here; use 'auto' or 'cpu'.")
    return torch.device(name)


@functools.cache
def why_not(device: str) -> str:
    """Why a tiny step of training fails on a device, or "" if it goes well; tried once a process."""
    try:
        with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
            network = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.3), torch.nn.Sigmoid()).to(device)
            optimizer = torch.optim.Adam(network.parameters())
            network(torch.ones(2, 4, device=device)).mean().backward()
            optimizer.step()
            return "" if all(p.isfinite().all() for p in network.parameters()) else "it gives NaN"
    except Exception as error:  # whatever a driver says
        return f"{type(error).__name__}: {error}".splitlines()[0]


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

    def multiply(threads: int) -> None:
        torch.set_num_threads(threads)
        for _ in range(4):
            torch.relu(x @ weights)

    try:
        one, many = _seconds(partial(multiply, 1), partial(multiply, several))
    finally:
        torch.set_num_threads(several)
    return (several, f"{one / many:.1f} times as fast as 1") if many < one else (1, f"faster than {several} now")


def choose_products(threads: int) -> tuple[bool, str]:
    """(whether `Linear` multiplies float32 by oneDNN, why); it depends on the processor, so it is measured."""
    before, kind = torch.get_num_threads(), {"dtype": torch.float32, "device": "cpu"}

    def step(wanted: bool) -> None:
        with onednn_products(wanted):
            torch.autograd.grad(layer(x).sum(), (x, layer.weight))

    try:
        torch.set_num_threads(threads)
        with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
            layer, x = Linear(1024, 512, **kind), torch.ones(128, 1024, requires_grad=True, **kind)
            plain, onednn = _seconds(partial(step, False), partial(step, True))
    finally:
        torch.set_num_threads(before)
    return onednn < plain, f"{plain / onednn:.2f} times as fast as PyTorch's own"


def _seconds(*ways: Callable[[], None]) -> list[float]:
    """The seconds of each way, taking turns; the first turn warms up."""
    turns = []
    for _ in range(6):
        turns.append([])
        for way in ways:
            start = time.perf_counter()
            way()
            turns[-1].append(time.perf_counter() - start)
    return [sum(times) for times in zip(*turns[1:], strict=True)]


def describe(device: str, precision: str, threads: int | None) -> dict:
    """What config.json says of the machine, for the choices of a TrainConfig.

    The ways marked *fast* differ from the plain loop in the last bit, or in which random numbers they take, so a
    training that asks for "float32" goes without them; on CUDA only where steps are not captured.
    """
    chosen = choose_device(device)
    no_capture = capture.why_not() if chosen.type == "cuda" else ""
    captured = chosen.type == "cuda" and not no_capture
    exact = precision == "float32" and not captured
    chosen_precision, why = choose_precision(precision, chosen)
    on_cpu = chosen.type == "cpu"
    chosen_threads, why_threads = choose_threads(threads) if on_cpu else (torch.get_num_threads(), "")
    measured = on_cpu and chosen_precision == "float32" and not exact
    onednn, why_onednn = choose_products(chosen_threads) if measured else (False, "")
    return {
        "device": chosen.type,
        "precision": chosen_precision,
        "why": why,
        "threads": chosen_threads,
        "why_threads": why_threads,
        "fused_adam": not exact and chosen.type in ("cpu", "cuda"),  # fast: one pass over the weights
        "joint_batch": not exact,  # fast: D sees real and fake as one batch, where it has no batch norm
        "onednn_products": onednn,  # fast or not, by the processor
        "why_onednn_products": why_onednn,
        "captured": captured,  # fast: a step is replayed as a CUDA graph
        "why_not_captured": no_capture,
        "capability": torch.backends.cpu.get_cpu_capability() if on_cpu else _name(chosen),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "labutils": labutils.__version__,
    }


def ways(machine: dict) -> dict[str, bool]:
    """Which fast ways a run takes; what runs took that were begun before these were written down."""
    older = {"fused_adam": machine["precision"] == "bfloat16", "joint_batch": False, "onednn_products": True}
    older |= {"captured": False}
    return {name: bool(machine.get(name, before)) for name, before in older.items()}


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name() if device.type == "cuda" else f"Apple, {platform.machine()}"


def said(machine: dict) -> str:
    """One line about the choices in `describe`'s dictionary."""
    line = f"{machine['device']}, {machine['precision']} ({machine['why']})"
    if machine["device"] == "cpu":
        reason = machine.get("why_threads")
        line += f", {machine['threads']} thread{'s' * (machine['threads'] > 1)}{f' ({reason})' * bool(reason)}"
    if machine.get("onednn_products"):
        line += f", products by oneDNN ({machine['why_onednn_products']})"
    if machine.get("captured"):
        line += ", its steps as CUDA graphs"
    elif machine.get("why_not_captured"):
        line += f", its steps not as CUDA graphs ({machine['why_not_captured']})"
    return line


@contextlib.contextmanager
def numerics(machine: dict) -> Iterator[None]:
    """Threads, random state, denormals, products, types and gradients of a run inside, whatever the caller has set.

    All of it comes back as it was afterwards. These settings are the process's: a second thread gets a RunError.
    """
    if not _in_use.acquire(blocking=False):
        raise RunError(
            "Another thread of this process trains or scores, and both would compute with each other's settings and "
            "random numbers. Wait for it, or start a process of its own for each."
        )
    threads, tiny = torch.get_num_threads(), torch.tensor([2e-38], dtype=torch.float32, device="cpu")
    flushed = (tiny / 10).item() == 0
    dtype, device = torch.get_default_dtype(), machine["device"]
    with contextlib.ExitStack() as stack:
        stack.callback(_in_use.release)
        stack.callback(torch.set_num_threads, threads)
        stack.callback(torch.set_flush_denormal, flushed)
        stack.callback(torch.set_default_dtype, dtype)
        torch.set_num_threads(machine["threads"])
        torch.set_flush_denormal(True)  # Adam's moments fill with denormal numbers, which are slow on a CPU
        torch.set_default_dtype(torch.float32)
        _keep_freed_memory()
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        for kind in {"cpu", device}:
            stack.enter_context(torch.autocast(kind, enabled=False))
        if device == "cuda":  # the same sums in the same order, in a resume too
            for name, value in (("deterministic", True), ("benchmark", False)):
                stack.callback(setattr, torch.backends.cudnn, name, getattr(torch.backends.cudnn, name))
                setattr(torch.backends.cudnn, name, value)
        for context in (torch.inference_mode(False), torch.enable_grad(), own_randomness(device)):
            stack.enter_context(context)
        stack.enter_context(onednn_products(ways(machine)["onednn_products"]))
        yield


@contextlib.contextmanager
def autocast(machine: dict) -> Iterator[None]:
    """bfloat16 inside, where the run has it. Its copies of the weights go at the end, since a step changes these."""
    try:
        with torch.autocast(machine["device"], torch.bfloat16, enabled=machine["precision"] == "bfloat16"):
            yield
    finally:
        torch.clear_autocast_cache()  # PyTorch does so at the end of the outermost autocast only


@contextlib.contextmanager
def own_randomness(device: str) -> Iterator[None]:
    """The random state of the CPU and of the device in use comes back at the end."""
    of_device = None if device == "cpu" else getattr(torch, device)
    before = of_device and of_device.get_rng_state()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            if of_device:
                of_device.set_rng_state(before)


@contextlib.contextmanager
def callers_code(device: str) -> Iterator[None]:
    """For a caller's own function in the middle of a training: whatever it sets is undone."""
    threads, dtype, default = torch.get_num_threads(), torch.get_default_dtype(), torch.get_default_device()
    with own_randomness(device), torch.enable_grad():
        try:
            yield
        finally:
            if torch.get_default_device() != default:
                torch.set_default_device(default)
            torch.set_num_threads(threads)
            torch.set_default_dtype(dtype)
            torch.set_flush_denormal(True)


def _keep_freed_memory() -> None:
    """Have Linux's C library keep the memory of freed tensors for the next ones, instead of giving it back each time.

    Otherwise every batch takes thousands of page faults, a tenth of its time.
    """
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError, OSError):  # another C library than glibc
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(-1, 2**30)  # M_TRIM_THRESHOLD: give back from this size on
            mallopt(-3, 2**25)  # M_MMAP_THRESHOLD, the largest that glibc takes
