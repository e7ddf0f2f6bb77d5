"""A training's step as a CUDA graph: recorded once, then replayed by one call.

A step of a small GAN is some hundred kernels of a few microseconds; to launch each from Python takes longer than to
compute it. A graph launches all of them at once (PyTorch, "Accelerating PyTorch with CUDA Graphs", 2021).
"""

import functools
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor, nn

from labutils.engine.files import RunError

EAGER = 3  # calls of a kind that run as ever before one is recorded: optimisers and libraries make what they keep
SECONDS = 120  # at most, for the trial
FAR = 1e-3  # of a weight of the trial, after its few steps; a step that was left out or done twice is further


class Captured:
    """`step(*tensors, **kind) -> tensor` on a CUDA device: the first calls as ever, the later ones by a graph.

    The first argument is a tensor there; numbers among the others become tensors (). They may have other values in each
    call; of each set of shapes, and each kind, a graph of its own is recorded. `step` must read nothing back from the
    device, and what it writes (weights, moments) must stay where it is.
    """

    def __init__(self, step: Callable[..., Tensor]):
        self.step, self.seen, self.recorded = step, Counter(), {}

    def __call__(self, *values: Tensor | float, **kind) -> Tensor:
        device = values[0].device
        tensors = [v if isinstance(v, Tensor) else torch.full((), v, device=device) for v in values]
        key = (*(tensor.shape for tensor in tensors), *kind.items())
        self.seen[key] += 1
        if self.seen[key] <= EAGER:
            return self._aside(tensors, kind)
        if key not in self.recorded:
            self.recorded[key] = self._record(tensors, kind)
        graph, inputs, output = self.recorded[key]
        for place, value in zip(inputs, tensors, strict=True):
            place.copy_(value)
        graph.replay()
        return output.clone()  # the next replay writes there again

    def _aside(self, tensors: tuple[Tensor, ...], kind: dict) -> Tensor:
        """As ever, but on a stream of its own, as PyTorch asks of what is recorded later."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            output = self.step(*tensors, **kind)
        torch.cuda.current_stream().wait_stream(self.stream)
        return output

    @functools.cached_property
    def stream(self) -> torch.cuda.Stream:
        """The one on which the first calls and the recordings are made: libraries keep a workspace for each."""
        return torch.cuda.Stream()

    def _record(self, tensors: tuple[Tensor, ...], kind: dict) -> tuple[torch.cuda.CUDAGraph, list[Tensor], Tensor]:
        """A graph, where its inputs are written before a replay, and where its output is read after it."""
        inputs, graph = [tensor.clone() for tensor in tensors], torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self.stream):  # nothing is computed in here
                output = self.step(*inputs, **kind)
        except RuntimeError as error:
            why = str(error.__context__ or error).splitlines()[0]
            raise RunError(
                f"This training's step cannot be recorded as a CUDA graph ({why}). Set the "
                "environment variable LABUTILS_CAPTURE to 0, restart the kernel, and train again with resume=True."
            ) from None
        return graph, inputs, output


@functools.cache
def why_not() -> str:
    """Why a step cannot be captured here, or "" where a trial gave what the plain steps gave; once a process.

    The trial is in a process of its own: a recording that fails can leave CUDA unusable. LABUTILS_CAPTURE=0 forbids it.
    """
    if os.environ.get("LABUTILS_CAPTURE") == "0":
        return "LABUTILS_CAPTURE is 0"
    try:
        done = subprocess.run([sys.executable, "-m", __name__], capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        return f"the trial did not run ({type(error).__name__})"
    return "" if done.returncode == 0 else f"the trial failed: {(done.stderr.strip() or 'no word').splitlines()[-1]}"


def trial(device: str = "cuda", capture: Callable = Captured) -> float:
    """How far a small GAN's weights are, after some captured steps, from those after as many plain ones."""
    weights = []
    for way in (capture, lambda step: step):
        torch.manual_seed(0)
        g = nn.Sequential(nn.Linear(8, 32, bias=False), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 16)).to(device)
        d = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 1)).to(device)
        options = {"lr": 1e-2, "fused": True, "capturable": torch.device(device).type == "cuda"}
        g_optimizer, d_optimizer = (torch.optim.Adam(network.parameters(), **options) for network in (g, d))
        images = torch.randn(64, 16, device=device)

        def step(batch, images=images, g=g, d=d, g_optimizer=g_optimizer, d_optimizer=d_optimizer):
            real = images.index_select(0, batch).requires_grad_()
            with torch.autocast(torch.device(device).type, torch.bfloat16):
                fake = g(torch.randn(len(real), 8, device=device))
                logits = d(real)
                loss = (d(fake.detach()) - logits).float().mean()
                (slope,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
                d_optimizer.zero_grad()
                (loss + slope.float().square().sum(1).mean()).backward()
                d_optimizer.step()
            torch.clear_autocast_cache()
            with torch.autocast(torch.device(device).type, torch.bfloat16):
                g_optimizer.zero_grad()
                (-d(fake).float().mean()).backward()
                g_optimizer.step()
            torch.clear_autocast_cache()
            return loss.detach()

        captured = way(step)
        for _ in range(4 * EAGER):
            last = captured(torch.randperm(64)[:32].to(device))
        those = [p.detach().flatten() for p in (*g.parameters(), *d.parameters())]
        weights.append(torch.cat([*those, last.flatten()[:1]]))
    return float((weights[0] - weights[1]).abs().max())


if __name__ == "__main__":
    if not (far := trial()) <= FAR:
        sys.exit(f"captured steps are {far:g} away from plain ones")
