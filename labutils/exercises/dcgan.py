"""Checks of notebook 06: the size after a transposed convolution, sampling, and how uneven the digits are."""

import math

import torch

from labutils.exercises.answer import Exercise
from labutils.exercises.expect import Wrong, expect, expect_number, expect_tensor, shown


class transposed_size(Exercise, number="6.1"):
    """answer(size, kernel, stride, padding) -> the height that nn.ConvTranspose2d makes of `size`."""

    def cases(self):
        numbers = ((7, 4, 2, 1), (14, 4, 2, 1), (1, 7, 1, 0), (5, 3, 2, 0), (4, 5, 3, 2))
        return [dict(zip(("size", "kernel", "stride", "padding"), each, strict=True)) for each in numbers]

    def judge(self, case, seen):
        (size, kernel, stride, padding), out = case.values(), seen["out"]
        right = (size - 1) * stride - 2 * padding + kernel
        given = f"size {size}, kernel {kernel}, stride {stride}, padding {padding}"
        say = f"For {given} it is {shown(out)}; expected {right}."
        mistakes = [
            ((size + 2 * padding - kernel) // stride + 1, "This is the rule of Conv2d, which makes images smaller."),
            (size * stride - 2 * padding + kernel, "Between `size` stamps there are size - 1 strides."),
            ((size - 1) * stride + 2 * padding + kernel, "Padding cuts off here: subtract it."),
            ((size - 1) * stride - padding + kernel, "Padding is cut off at both sides: twice."),
            (size * stride, "True for kernel 4, stride 2, padding 1, but not in general."),
        ]
        expect(out, right, [(value, f"{say} {reason}") for value, reason in mistakes], say, atol=0, rtol=0)
        if isinstance(out, float):
            raise Wrong(f"{say} The value is right but not an int: no `/`.")


class sample_quietly(Exercise, number="6.2"):
    """answer(generator, z) -> its images in eval mode, without a gradient, the generator being left as it was."""

    may_change = frozenset({"values", "modes"})  # judged by what the generator is afterwards

    def cases(self):
        draw = torch.Generator().manual_seed(62)
        names = {"0.weight": (4, 4), "0.bias": (4,), "1.weight": (4,), "1.bias": (4,), "1.running_mean": (4,)}
        state = {name: torch.randn(*shape, generator=draw) for name, shape in names.items()}
        state |= {"1.running_var": torch.rand(4, generator=draw) + 0.5, "1.num_batches_tracked": torch.tensor(3)}
        z = torch.randn(6, 4, generator=draw)
        return [{"state": state, "z": z, "training": training} for training in (True, False)]

    def _generator(self, case):
        generator = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4))
        generator.load_state_dict(case["state"])
        return generator.train(case["training"])

    def perform(self, answer, case):
        generator = self._generator(case)
        out = answer(generator, case["z"])
        graph = isinstance(out, torch.Tensor) and out.requires_grad
        modes = [module.training for module in generator.modules()]
        return {"out": out, "graph": graph, "modes": modes, "state": dict(generator.state_dict())}

    def judge(self, case, seen):
        out = expect_tensor(seen["out"], case["z"].shape)
        if any(not torch.equal(case["state"][key], value) for key, value in seen["state"].items()):
            raise Wrong("Sampling changed the running statistics of batch norm: call generator.eval() before.")
        if seen["graph"]:
            raise Wrong("The images carry a graph, which costs memory: sample under torch.no_grad().")
        if any(mode != case["training"] for mode in seen["modes"]):
            found, wanted = ("eval", "train") if case["training"] else ("train", "eval")
            raise Wrong(f"The generator was in {wanted} mode and is in {found} mode now: restore the mode it had.")
        with torch.no_grad():
            right = self._generator(case).eval()(case["z"])
        otherwise = "These are not the images of eval mode: batch norm must use its running statistics."
        expect(out, right, [], otherwise, atol=1e-6)


class class_kl(Exercise, number="6.3"):
    """answer(counts (10,)) -> the KL divergence of their shares from even ones, in nats."""

    def cases(self):
        many = ([5, 10, 15, 20, 10, 10, 10, 10, 5, 5], [0, 30, 0, 0, 10, 0, 0, 0, 0, 0], [7] * 10, [0] * 9 + [12])
        return [{"counts": torch.tensor(counts)} for counts in many]

    def judge(self, case, seen):
        counts, out = case["counts"], expect_number(seen["out"])
        shares = counts.double() / counts.sum()
        right = float(torch.special.xlogy(shares, shares * 10).sum())
        if math.isnan(out) and 0 in counts:
            raise Wrong("A digit that never comes makes it NaN: 0 ln 0 counts as 0, so leave such digits out.")
        mistakes = [
            (right / math.log(2), "This is in bits (log to base 2); use the natural logarithm."),
            (float((0.1 * (0.1 / shares).log()).sum()), "The other way round: weight each logarithm by p, not by 0.1."),
            (math.log(10) - right, "This is the entropy; it is ln 10 minus the divergence."),
            (-right, "The sign is wrong: p stands above, 0.1 beneath."),
            (float(torch.special.xlogy(counts.double(), counts * 10.0).sum()), "Shares sum to 1: divide by the sum."),
            (right / 10, "Sum over the digits; the mean is a tenth of it."),
        ]
        otherwise = f"For the counts {counts.tolist()} it is {{seen}}; expected {{expected}}."
        expect(out, right, mistakes, otherwise, atol=1e-5, rtol=1e-4)
