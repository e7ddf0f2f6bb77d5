"""What a judge compares with: each function raises Wrong with a sentence that is true of what was seen."""

import math

import torch
from torch import Tensor


class Wrong(Exception):
    """An answer is not right yet; the message says in which way."""


class Untouched(Wrong):
    """What was to be filled in is still as it was given."""


def kind(value) -> str:
    """The name of a value's type, also of one that was no plain data before it came here; a tuple comes as a list."""
    if isinstance(value, list):
        return "list or tuple"
    return value["kind"] if is_odd(value) else type(value).__name__


def shown(value) -> str:
    """A value as a sentence shows it."""
    text = " ".join((value["shown"] if is_odd(value) else repr(value)).split())
    return text if len(text) <= 120 else text[:117] + "..."


def listed(value):
    """A tensor or an array as lists, also within a list; anything else as it is."""
    if isinstance(value, list):
        return [listed(item) for item in value]
    return value.tolist() if isinstance(value, Tensor) else value.get("value", value) if is_odd(value) else value


def is_odd(value) -> bool:
    """Whether this stands for something that is no plain data: see `labutils.exercises.guard.plain`."""
    return isinstance(value, dict) and {"kind", "shown"} <= value.keys()


AT = "At {at} you return {seen}; expected {expected}."


def expect(out, right, mistakes=(), otherwise=AT, atol=1e-4, rtol=1e-5, near=0.0, names=None) -> None:
    """Raise Wrong unless `out` is `right`: with the reason of the mistake that gives `out`, else with `otherwise`.

    Values are numbers, lists of them or tensors; `mistakes` holds pairs (value, reason). `out` is the same as a value
    within atol + rtol * |value|; NaN is the same as nothing. A mistake that gives the right value here is none. `near`
    takes the place of atol for mistakes, where it is larger. In each text {seen} and {expected} become the two numbers
    that differ most, with as many digits as it takes to tell them apart, and {at} where: names[i], or their index.
    """
    if _same(out, right, atol, rtol):
        return
    near = max(near, atol)
    for value, reason in mistakes:
        if _same(out, value, near, rtol) and not _same(value, right, near, rtol):
            raise Wrong(_filled(reason, out, right, names))
    raise Wrong(_filled(otherwise, out, right, names))


def _numbers(value) -> Tensor | None:
    if isinstance(value, Tensor) and value.is_complex():
        return None
    try:
        return torch.as_tensor(value["value"] if is_odd(value) else value, dtype=torch.float64).detach()
    except (KeyError, TypeError, ValueError, RuntimeError):
        return None


def _same(out, value, atol: float, rtol: float) -> bool:
    out, value = _numbers(out), _numbers(value)
    return out is not None and value is not None and out.shape == value.shape and torch.allclose(out, value, rtol, atol)


def _filled(text: str, out, right, names) -> str:
    """The text with {at}, {seen} and {expected} filled in."""
    seen, wanted = _numbers(out), _numbers(right)
    if seen is None or seen.shape != wanted.shape:
        return text.replace("{at}", "all").replace("{seen}", shown(out)).replace("{expected}", shown(right))
    apart = (seen - wanted).abs().nan_to_num(math.inf, math.inf).flatten()
    i = int(apart.argmax())
    where = names[i] if names is not None else f"place {i}"
    a, b = unlike(seen.flatten()[i].item(), wanted.flatten()[i].item())
    return text.replace("{at}", str(where)).replace("{seen}", a).replace("{expected}", b)


def unlike(a: float, b: float) -> tuple[str, str]:
    """Two numbers with four digits behind the point, or as many more as it takes to see that they differ."""
    for digits in range(4, 18):
        texts = f"{a + 0.0:.{digits}f}", f"{b + 0.0:.{digits}f}"
        if texts[0] != texts[1]:
            return texts
    return repr(a), repr(b)


def expect_tensor(out, shape, dtype: torch.dtype | None = None, what: str = "Your function") -> Tensor:
    """An answer that must be a tensor of this shape, and of this type; None: any floating-point type."""
    if not isinstance(out, Tensor):
        raise Wrong(f"{what} returned a {kind(out)}; it must return a tensor.")
    if tuple(out.shape) != tuple(shape):
        raise Wrong(f"{what} returned the shape {tuple(out.shape)}; expected {tuple(shape)}.")
    if out.dtype != dtype if dtype else not out.is_floating_point():
        raise Wrong(f"{what} returned the type {out.dtype}; expected {dtype or 'a floating-point type'}.")
    return out


def expect_number(out, what: str = "Your function") -> float:
    """An answer that must be one number, or a tensor of one."""
    number = _numbers(out)
    if number is None or number.numel() != 1 or isinstance(out, str | list):
        raise Wrong(f"{what} returned {shown(out)}; return one number.")
    return number.item()
