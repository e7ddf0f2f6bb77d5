"""Layers of torch.nn, made faster on a CPU: the same interface, a fast way or the plain one, equal by a test."""

import contextlib
import functools
from collections.abc import Iterator
from contextvars import ContextVar

import torch
from torch import Tensor, nn


class _OneDNNProduct(torch.autograd.Function):
    """x @ weight.T + bias by oneDNN, with gradients of every order; x (N, K), weight (M, K), bias (M,) or None."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")

    @staticmethod
    def backward(ctx, grad):
        (x, weight), (of_x, of_weight, of_bias) = ctx.saved_tensors, ctx.needs_input_grad
        to_x = _OneDNNProduct.apply(grad, weight.t(), None) if of_x else None
        to_weight = _OneDNNProduct.apply(grad.t(), x.t(), None) if of_weight else None
        return to_x, to_weight, grad.sum(0) if of_bias else None


@functools.cache
def _has_onednn() -> bool:
    """Whether this PyTorch has oneDNN's float32 product, and it is right."""
    x, weight = (  # whatever type and device the caller has made the default: the answer holds for the process
        torch.arange(float(3 * n), dtype=torch.float32, device="cpu").view(n, 3) for n in (2, 4)
    )
    try:
        return torch.equal(torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], ""), x @ weight.t())
    except (AttributeError, RuntimeError, NotImplementedError):
        return False


def on_cpu(x: Tensor) -> bool:
    """Whether the fast ways are meant for a tensor: they are a CPU's."""
    return x.device.type == "cpu"


_onednn = ContextVar("_onednn", default=False)


@contextlib.contextmanager
def onednn_products(wanted: bool) -> Iterator[None]:
    """Have `Linear` multiply by oneDNN inside, or not; the choice of `labutils.engine.machine`."""
    token = _onednn.set(wanted)
    try:
        yield
    finally:
        _onednn.reset(token)


class Linear(nn.Linear):
    """nn.Linear; inside `onednn_products(True)` a float32 batch on a CPU is multiplied by oneDNN, as bfloat16 always.

    PyTorch gives float32 products to MKL, which on some AMD processors is half as fast as oneDNN, on others faster.
    """

    def forward(self, x: Tensor) -> Tensor:
        traced = torch.compiler.is_compiling() or torch.jit.is_tracing()  # a recorded graph holds plain products
        if traced or not _onednn.get() or not on_cpu(x) or x.dtype != torch.float32:
            return super().forward(x)
        if torch.is_autocast_enabled("cpu") or x.dim() != 2 or len(x) < 64 or not _has_onednn():
            return super().forward(x)
        return _OneDNNProduct.apply(x, self.weight, self.bias)


class Dropout(nn.Dropout):
    """nn.Dropout with a cheaper mask on a CPU: 16 random bits a unit; a Bernoulli draw there costs ten times more.

    Each unit is kept with probability round((1 - p) * 65536) / 65536 and then divided by it, so the mean is exact.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not on_cpu(x):  # a GPU draws its own masks fast, and Apple's cannot draw whole 64-bit words
            return super().forward(x)
        dropped = round(self.p * 65536)
        if not self.training or dropped == 0:
            return x
        words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64, device=x.device)
        # (64 random bits a word) -> four units' 16 bits each, read as -32768..32767
        bits = words.random_(-(2**63), None).view(torch.int16)[: x.numel()].view(x.shape)
        mask = (bits > dropped - 32769).to(x.dtype).mul_(65536 / max(65536 - dropped, 1))
        return x * mask


def layout(device: str) -> torch.memory_format:
    """Channels innermost, but not on Apple's GPU: its batch norm passes back wrong gradients then (PyTorch #175189)."""
    return torch.contiguous_format if device == "mps" else torch.channels_last


def placed(network: nn.Module, device: str) -> nn.Module:
    """The network on the device, its kernels laid out as images are there."""
    return network.to(device, memory_format=layout(device))


class _ChannelsLastGradient(torch.autograd.Function):
    """The identity; its gradient comes back with the channels innermost in memory."""

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        return grad.contiguous(memory_format=layout(grad.device.type))


class Conv2d(nn.Conv2d):
    """nn.Conv2d with the channels innermost in memory, in kernel and images: a third faster on a CPU."""

    def __init__(self, *sizes, **settings):
        super().__init__(*sizes, **settings)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.contiguous(memory_format=layout(x.device.type)))


class ConvTranspose2d(nn.ConvTranspose2d):
    """nn.ConvTranspose2d with the channels innermost in memory; its images have them so from `Unflatten` on."""

    def __init__(self, *sizes, **settings):
        super().__init__(*sizes, **settings)
        self.to(memory_format=torch.channels_last)


class Unflatten(nn.Unflatten):
    """nn.Unflatten to (N, C, H, W), with the channels innermost in memory: so convolutions on a CPU are fastest."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).contiguous(memory_format=layout(x.device.type))


class Flatten(nn.Flatten):
    """nn.Flatten; its gradient comes back with the channels innermost in memory."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(_ChannelsLastGradient.apply(x))
