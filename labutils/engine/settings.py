"""The rules of a settings class, each beside its field, which `check` holds it to; and what is asked of other input."""

import math
from collections.abc import Callable
from dataclasses import field, fields

import torch
from torch import Tensor
from torch.nn import Module


def check(settings) -> None:
    """Raise ValueError with one sentence if a field breaks its rule."""
    for each in fields(settings):
        good, expected = each.metadata["rule"]
        if not good(value := getattr(settings, each.name)):
            raise ValueError(f"{each.name} is {value!r}; {expected}.")


def one_of(default, *allowed):
    """One of these values."""
    known = f"use one of {', '.join(map(repr, allowed))}"
    return _field(default, lambda value: isinstance(value, str | int | None) and value in allowed, known)


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
    allowed = f"expected 0 (off) or a positive number such as {such}"
    return _field(default, lambda v: _number(v) and 0 <= v < 1e30, allowed)


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


def checked_noise(z: Tensor, network: Module) -> Tensor:
    """z itself, if the generator can take it: of shape (N, z_dim), and like its weights in type and device."""
    takes, advice = "The generator takes z", f"draw it with torch.randn(N, {network.z_dim})"
    return _checked(z, network, (network.z_dim,), takes, advice)


def checked_images(x: Tensor, network: Module) -> Tensor:
    """x itself, if the discriminator can take it: of shape (N, 1, 28, 28), and like its weights in type and device."""
    advice = "reshape with x.reshape(-1, 1, 28, 28), add a missing batch dimension with x[None]"
    return _checked(x, network, (1, 28, 28), "The discriminator takes images", advice)


def _checked(x: Tensor, network: Module, shape: tuple[int, ...], takes: str, advice: str) -> Tensor:
    takes_shape, weights = f"{takes} of shape (N, {', '.join(map(str, shape))})", next(network.parameters())
    if not isinstance(x, Tensor):
        raise ValueError(f"{takes_shape}, a tensor, but got a {type(x).__name__}; torch.tensor(...) makes one.")
    if x.shape[1:] != shape or not x.dim():
        raise ValueError(f"{takes_shape} but got {tuple(x.shape)}; {advice}.")
    cast = x.is_floating_point() and not x.is_meta and torch.is_autocast_enabled(x.device.type)
    if x.device != weights.device or not (x.dtype == weights.dtype or cast):
        found = f"{takes} of {weights.dtype} on {weights.device}, as its weights are, but got {x.dtype} on {x.device}"
        raise ValueError(f"{found}; try .to({str(weights.device)!r}, {weights.dtype}).")
    return x


def checked_tiles(images: Tensor) -> Tensor:
    """Images (N, 1, 28, 28) as float32 (N, 28, 28) on the CPU; ValueError if they are of another shape or type."""
    found = f"of type {type(images).__name__}"
    if isinstance(images, Tensor):
        if images.is_floating_point() and images.dim() and images.numel() == 784 * len(images):
            return images.detach().float().cpu().reshape(-1, 28, 28)
        found = f"{images.dtype} of shape {tuple(images.shape)}"
    raise ValueError(f"images is {found}; expected a float tensor (N, 1, 28, 28) in [-1, 1]: see labutils.data.scale.")


def checked_step(step: Callable, player: str) -> Callable:
    """A caller's own step of "D" or "G", which raises ValueError unless it returns what those of the lab return."""
    three = "three tensors: the loss of shape (), logits of real images, logits of fakes"
    expected, count = (three, 3) if player == "D" else ("a tensor: the loss of shape ()", 1)

    def checked(*given, **named):
        out = step(*given, **named)
        parts = (out,) if player == "G" or not isinstance(out, tuple | list) else out
        good = len(parts) == count and all(isinstance(part, Tensor) for part in parts)
        if not good or parts[0].dim():
            found = ", ".join(str(getattr(part, "shape", type(part).__name__)) for part in parts)
            raise ValueError(f"Your step of {player} returned {found}; expected {expected}. See its return.")
        return out

    return checked
