"""Checks of notebook 06: DCGAN's generator, sampling, sizes after a transposed convolution, how uneven digits are."""

import math

import torch
from torch import nn

from labutils.exercises.answer import Exercise
from labutils.exercises.expect import Wrong, expect, expect_number, expect_tensor, shown


def _layers(z_dim, first=None, act=nn.ReLU, last=nn.Tanh, kernel=4, bias=True, norm=True, ends=()):
    """The layers of the right generator, or of one with a mistake."""
    size, norms = 128 * 7 * 7, (nn.BatchNorm1d, nn.BatchNorm2d) if norm else (nn.Identity, nn.Identity)
    begin = first(size) if first else [norms[0](size), act(), nn.Unflatten(1, (128, 7, 7))]
    up = {"kernel_size": kernel, "stride": 2, "padding": 1, "bias": bias}
    middle = [nn.ConvTranspose2d(128, 64, **up), norms[1](64), act(), nn.ConvTranspose2d(64, 1, **up)]
    return nn.Sequential(nn.Linear(z_dim, size), *begin, *middle, *ends, last())


def _shapes(network):
    return [list(parameter.shape) for parameter in network.parameters()]


def _images(network, z):
    """What a network makes of z in train mode, its parameters being set to numbers that are always the same."""
    draw = torch.Generator().manual_seed(61)
    for p in network.parameters():
        p.data = torch.randn(p.shape, generator=draw) * (0.05 if p.dim() > 1 else 0.5)
    return network.train()(z)


class dcgan_generator(Exercise, number="6.1"):
    """answer(z_dim) -> a module with the nn.Sequential `layers`: z (N, z_dim) -> images (N, 1, 28, 28) in [-1, 1]."""

    may_change, of_class = frozenset({"random"}), True  # its weights are drawn

    SHAPES = (  # mistakes that other parameters show
        ({"z_dim": 100}, "Your first layer takes 100 numbers, whatever z_dim is: build it of z_dim."),
        ({"norm": False}, "Batch normalisation is missing: one follows the Linear layer, one the first convolution."),
        ({"bias": False}, "The transposed convolutions have a bias here, as PyTorch gives them one."),
        ({"kernel": 3}, "The kernel is 4: 2, the stride, divides it, so that each pixel gets as many stamps."),
        ({"ends": [nn.BatchNorm2d(1)]}, "No batch normalisation before Tanh: it would fix the images' brightness."),
        ({"first": lambda size: [nn.Unflatten(1, (128, 7, 7)), nn.BatchNorm2d(128), nn.ReLU()]},
         "The first batch normalisation is BatchNorm1d of all 6272 values, before Unflatten."),
    )  # fmt: skip
    VALUES = (  # and those that only the images show
        ({"last": nn.Identity}, "Tanh is missing at the end: images here lie in [-1, 1]."),
        ({"last": nn.Sigmoid}, "Sigmoid ends in [0, 1]; images here lie in [-1, 1]: Tanh."),
        ({"act": nn.Identity}, "ReLU is missing: without it two layers are as one."),
        ({"act": lambda: nn.LeakyReLU(0.2)}, "LeakyReLU is the discriminator's; the generator has ReLU."),
        ({"first": lambda size: [nn.ReLU(), nn.BatchNorm1d(size), nn.Unflatten(1, (128, 7, 7))]},
         "The first ReLU comes after the batch normalisation."),
    )  # fmt: skip

    def cases(self):
        draw = torch.Generator().manual_seed(6)
        return [{"z_dim": z_dim, "z": torch.randn(5, z_dim, generator=draw)} for z_dim in (3, 8)]

    def perform(self, answer, case):
        network = answer(case["z_dim"])
        sequence = isinstance(network, nn.Module) and isinstance(getattr(network, "layers", None), nn.Sequential)
        if sequence and any(map(nn.parameter.is_lazy, network.parameters())):
            network.eval()(case["z"])
        shapes, right = _shapes(network) if sequence else [], _layers(case["z_dim"])
        same = sequence and shapes == _shapes(right)
        named = same and [*network.state_dict()] == [f"layers.{name}" for name in right.state_dict()]
        out = _images(network, case["z"]) if same else None
        if isinstance(out, torch.Tensor) and out.requires_grad:
            out.sum().backward()
        graph = same and all(p.grad is not None for p in network.parameters())
        return {"sequence": sequence, "shapes": shapes, "out": out, "graph": graph, "named": named}

    def judge(self, case, seen):
        z_dim, right = case["z_dim"], _layers(case["z_dim"])
        if not seen["sequence"]:
            raise Wrong("Keep the nine layers as self.layers = nn.Sequential(...): the next cells walk through them.")
        for change, reason in self.SHAPES:
            if seen["shapes"] == _shapes(_layers(**{"z_dim": z_dim} | change)):
                raise Wrong(reason)
        if seen["shapes"] != _shapes(right):
            raise Wrong(f"Your parameters have the shapes {shown(seen['shapes'])}; expected {_shapes(right)}.")
        out = expect_tensor(seen["out"], (5, 1, 28, 28), torch.float32, "Sizes go 7, 14, 28 by stride 2; yours")
        mistakes = [(_images(_layers(z_dim, **change), case["z"]), reason) for change, reason in self.VALUES]
        say = "The shapes are right, but a pixel is {seen}; expected {expected}: compare the layers and their order."
        expect(out, _images(right, case["z"]), mistakes, say, atol=1e-4)
        if not seen["graph"]:
            raise Wrong("No gradient reaches the weights, or not all: no .detach(), .data or no_grad in forward.")
        if not seen["named"]:
            raise Wrong("The next cells load layers.0.weight and so on: one nn.Sequential of all, no names, no copies.")


class sample_quietly(Exercise, number="6.2"):
    """answer(generator, z) -> its images in eval mode, without a gradient, the generator being left as it was."""

    may_change = frozenset({"values", "modes"})  # judged by what the generator is afterwards

    def cases(self):
        draw = torch.Generator().manual_seed(62)
        names = {"0.weight": (4, 4), "0.bias": (4,), "1.weight": (4,), "1.bias": (4,), "1.running_mean": (4,)}
        state = {name: torch.randn(*shape, generator=draw) for name, shape in names.items()}
        state |= {"1.running_var": torch.rand(4, generator=draw) + 0.5, "1.num_batches_tracked": torch.tensor(3)}
        case = {"state": state, "z": torch.randn(6, 4, generator=draw)}
        return [case | {"training": t, "grad": g} for t, g in ((True, True), (False, True), (True, False))]

    def _generator(self, case):
        generator = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4))
        generator.load_state_dict(case["state"])
        return generator.train(case["training"])

    def perform(self, answer, case):
        generator = self._generator(case)
        with torch.set_grad_enabled(case["grad"]):
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
            right, other = (self._generator(case).train(mode)(case["z"]) for mode in (False, True))
        mistakes = [(other, "These are the images of train mode: batch norm must use its running statistics.")]
        expect(out, right, mistakes, "A value is {seen}; in eval mode it is {expected}.", atol=1e-6)


class transposed_size(Exercise, number="6.3"):
    """answer(size, kernel, stride, padding) -> the height that nn.ConvTranspose2d makes of `size`."""

    may_change = frozenset({"random"})  # whoever builds the layer draws its weights

    def cases(self):
        numbers = ((5, 9, 3, 2), (7, 4, 2, 1), (14, 4, 2, 1), (1, 7, 1, 0), (5, 3, 2, 0))
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
        if isinstance(out, float) or (isinstance(out, torch.Tensor) and out.is_floating_point()):
            raise Wrong(f"{say} The value is right but not an int: no `/`.")


class class_kl(Exercise, number="6.4"):
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
