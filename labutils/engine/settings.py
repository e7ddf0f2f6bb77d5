"""The rules of a settings class, each beside its field, which `check` holds it to; and what networks ask of input."""

import math
from collections.abc import Callable
from dataclasses import field, fields

from torch import Tensor


def check(settings) -> None:
    """Raise ValueError with one sentence if a field breaks its rule."""
    for each in fields(settings):
        good, expected = each.metadata["rule"]
        if not good(value := getattr(settings, each.name)):
            raise ValueError(f"{each.name} is {value!r}; {expected}.")


def one_of(default, *allowed):
    """One of these values."""
    return _field(default, lambda value: value in allowed, f"use one of {', '.join(map(repr, allowed))}")


def whole(default, least: int, most: int | None = None):
    """A whole number; where the default is None, that too."""
    span = f"of at least {least}" if most is None else f"from {least} to {most}"
    high = math.inf if most is None else most
    return _field(default, lambda v: type(v) is int and least <= v <= high, f"expected a whole number {span}")


def positive(default, such: str):
    """A number above 0; where the default is None, that too."""
    allowed = f"expected a positive number such as {such}" + ", or None" * (default is None)
    return _field(default, lambda v: _number(v) and 0 < v < 1e30, allowed)


def off_or_positive(default, such: str):
    """0, which switches it off, or a number above."""
    return _field(
        default, lambda v: _number(v) and 0 <= v < 1e30, f"expected 0 (off) or a positive number such as {such}"
    )


def share(default, such: str = ""):
    """A number from 0 up to, not including, 1."""
    allowed = "expected a number from 0 up to, not including, 1" + f", such as {such}" * bool(such)
    return _field(default, lambda v: _number(v) and 0 <= v < 1, allowed)


def _field(default, good: Callable[[object], bool], expected: str):
    def rule(value) -> bool:
        return (value is None and default is None) or good(value)

    return field(default=default, metadata={"rule": (rule, expected)})


def _number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def checked_noise(z: Tensor, z_dim: int) -> Tensor:
    """z itself, if its shape is (N, z_dim)."""
    if z.dim() != 2 or z.shape[1] != z_dim:
        found = f"The generator takes z of shape (N, {z_dim}) but got {tuple(z.shape)}"
        raise ValueError(f"{found}; draw it with torch.randn(N, {z_dim}).")
    return z


def checked_images(x: Tensor) -> Tensor:
    """x itself, if its shape is (N, 1, 28, 28)."""
    if x.dim() != 4 or x.shape[1:] != (1, 28, 28):
        found = f"The discriminator takes images of shape (N, 1, 28, 28) but got {tuple(x.shape)}"
        raise ValueError(f"{found}; reshape with x.reshape(-1, 1, 28, 28), add a missing batch dimension with x[None].")
    return x
