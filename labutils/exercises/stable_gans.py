"""Checks of notebook 07: smoothed labels, the R1 penalty, the average of a network's weights."""

import torch
from torch import Tensor, nn

from labutils.exercises.answer import Exercise
from labutils.exercises.expect import Wrong, expect, expect_number, expect_tensor


class best_smoothed(Exercise, number="7.1"):
    """answer(p_data (N,), p_g (N,), a, b) -> D*(x) (N,) for the label a on real samples and b on fakes."""

    def cases(self):
        p_data, p_g = torch.tensor([0.5, 0.3, 0.0, 0.8]), torch.tensor([0.5, 0.1, 0.4, 0.0])
        return [{"p_data": p_data, "p_g": p_g, "a": a, "b": b} for a, b in ((0.9, 0.0), (0.9, 0.2), (1.0, 0.0))]

    def judge(self, case, seen):
        p_data, p_g, a, b = case.values()
        total = p_data + p_g
        out, right = expect_tensor(seen["out"], total.shape), (a * p_data + b * p_g) / total
        mistakes = [
            (p_data / total, "That is the best D for the labels 1 and 0: the labels do not enter."),
            (a * p_data / total, "The label b of the fakes is missing: they pull D to b, with weight p_g."),
            ((b * p_data + a * p_g) / total, "The labels are exchanged: a belongs to p_data."),
            (1 - right, "That is the probability that x is fake."),
            (a * p_data / (a * p_data + (1 - b) * p_g), "Real samples have two terms, a log D + (1 - a) log(1 - D)."),
            (a * p_data + b * p_g, "Densities need not sum to 1 at a point: divide by p_data + p_g."),
        ]
        say = f"with a = {a}, b = {b}, your D is {{seen}}; expected {{expected}}."
        names = [f"p_data = {p:.1f}, p_g = {q:.1f}" for p, q in zip(p_data.tolist(), p_g.tolist(), strict=True)]
        expect(out, right, mistakes, f"At {{at}}, {say}", names=names)


class penalty(Exercise, number="7.2"):
    """answer(logits, real (N, 1, 28, 28)) -> the R1 penalty, one number with a graph back to the weights of D."""

    advice = (
        ("does not require grad", "The slope is over pixels: make a copy of the images that requires a gradient."),
        ("implicitly created only for scalar", "One gradient for all images at once: sum the logits first."),
    )

    def cases(self):
        draw = torch.Generator().manual_seed(72)
        linear = {"0.weight": torch.full((1, 784), 0.05), "0.bias": torch.ones(1)}
        cases = [{"real": torch.rand(3, 1, 28, 28, generator=draw) * 2 - 1, "state": linear}]
        for n in (3, 1):
            shapes = {"0.weight": (6, 784), "0.bias": (6,), "2.weight": (1, 6), "2.bias": (1,)}
            state = {name: torch.randn(*shape, generator=draw) / shape[-1] ** 0.5 for name, shape in shapes.items()}
            cases.append({"real": torch.rand(n, 1, 28, 28, generator=draw) * 2 - 1, "state": state})
        return cases

    def perform(self, answer, case):
        network = _discriminator(case["state"])
        out, slopes = answer(lambda x: network(x.flatten(1)), case["real"]), None
        left = any(p.grad is not None for p in network.parameters())
        if isinstance(out, Tensor) and out.requires_grad and out.numel() == 1:
            slopes = torch.autograd.grad(out.sum(), list(network.parameters()), allow_unused=True)
        return {"out": out, "slopes": slopes, "left": left}

    def judge(self, case, seen):
        network, x = _discriminator(case["state"]), case["real"].clone().requires_grad_()
        logits = network(x.flatten(1))
        (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        (other,) = torch.autograd.grad(torch.sigmoid(logits).sum(), x, retain_graph=True)
        each, n = slope.flatten(1).norm(dim=1), len(x)
        right = (each**2).mean() / 2
        mistakes = [
            (2 * right, "It is twice the penalty: R1 takes half of the squared slope."),
            (n * right, "That is the sum over the images: R1 is their mean."),
            (2 * n * right, "That is the sum over the images, without the half: R1 is half of their mean."),
            (right / n**2, "That is the slope of the mean of the logits: take that of their sum."),
            (right / 784, "That is a mean over the pixels: the squared length of a gradient is their sum."),
            (2 * right / 784, "That is a mean over pixels, without the half: the squared length is their sum."),
            (each.mean() / 2, "The length is not squared."),
            (each.mean(), "The length is not squared, and the half is missing."),
            (((each - 1) ** 2).mean(), "That is WGAN-GP's, which wants a slope of 1: R1 wants 0."),
            (other.square().sum() / n / 2, "That is the slope of the probability: R1 takes the logit's."),
        ]
        expect(expect_number(seen["out"]), right, mistakes, "The penalty is {seen}; expected {expected}.", rtol=1e-4)
        if seen["left"]:
            raise Wrong("The number is right, but D holds gradients now: torch.autograd.grad leaves none behind.")
        if seen["slopes"] is None:
            raise Wrong("The number is right, but D could not learn from it: autograd.grad(..., create_graph=True).")
        wanted = torch.autograd.grad(right, list(network.parameters()), allow_unused=True)
        for name, found, slope in zip(case["state"], seen["slopes"], wanted, strict=True):
            zero = torch.zeros_like(case["state"][name])
            text = f"The number is right, its gradient over {name} is not: at {{at}} {{seen}}, expected {{expected}}."
            expect(zero if found is None else found, zero if slope is None else slope, (), text, rtol=1e-3)


def _discriminator(state: dict) -> nn.Sequential:
    """One layer, or two with a tanh between, of these weights."""
    first = state["0.weight"].shape[0]
    layers = [nn.Linear(784, first)] + ([nn.Tanh(), nn.Linear(first, 1)] if "2.weight" in state else [])
    network = nn.Sequential(*layers)
    network.load_state_dict(state)
    return network


class average_step(Exercise, number="7.3"):
    """answer(average, network, decay): average <- decay * average + (1 - decay) * network in place, with buffers."""

    may_change = frozenset({"values"})
    advice = (
        ("requires grad", "A weight cannot change in place while gradients are recorded: torch.no_grad()."),
        ("Long", "num_batches_tracked is a whole number, which has no such mean: copy it."),
        ("dtype", "num_batches_tracked is a whole number, which has no such mean: copy it."),
    )

    def cases(self):
        draw, states = torch.Generator().manual_seed(71), []
        shapes = {"0.weight": (4, 3), "0.bias": (4,), "1.weight": (4,), "1.bias": (4,), "1.running_mean": (4,)}
        for steps in (0, 3):
            state = {name: torch.randn(*shape, generator=draw) for name, shape in shapes.items()}
            state |= {"1.running_var": torch.rand(4, generator=draw), "1.num_batches_tracked": torch.tensor(steps)}
            states.append(state)
        return [{"average": states[0], "network": states[1], "decay": decay} for decay in (0.9, 0.5)]

    def perform(self, answer, case):
        networks = [torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)) for _ in range(2)]
        for network, name in zip(networks, ("average", "network"), strict=True):
            network.load_state_dict(case[name])
        answer(*networks, case["decay"])
        average, network = (dict(each.state_dict()) for each in networks)
        shared = [name for name, tensor in average.items() if tensor.data_ptr() == network[name].data_ptr()]
        return {"average": average, "network": network, "shared": shared}

    def judge(self, case, seen):
        before, there, after, decay = case["average"], case["network"], seen["average"], case["decay"]
        if any(not torch.equal(value, there[key]) for key, value in seen["network"].items()):
            raise Wrong("The network has changed: only the average must.")
        if seen["shared"]:
            raise Wrong(f"{seen['shared'][0]} is one tensor of both now, so the average would follow: use copy_.")
        if all(torch.equal(after[key], value) for key, value in before.items()):
            raise Wrong("The average has not changed: write into its tensors, by copy_ or lerp_.")
        for key, a in before.items():
            out, b, buffer = after[key], there[key], "running" in key
            if key.endswith("num_batches_tracked") or (buffer and torch.allclose(out, b)):
                continue  # no mean is computed from the number; many programs take the newest statistics
            right, swapped = decay * a + (1 - decay) * b, (1 - decay) * a + decay * b
            where = "buffers are in state_dict(), not in parameters()" if buffer else "every tensor takes part"
            mistakes = [
                (a, f"{key} was forgotten: {where}."),
                (swapped, "decay and 1 - decay are exchanged: with 0.9 the average keeps nine tenths of itself."),
                (b, f"{key} is a copy of the network's: the old average must count too."),
            ]
            otherwise = f"With decay = {decay}, {key} becomes {{seen}} at {{at}}; expected {{expected}}."
            expect(out, right, mistakes, otherwise, atol=1e-6)
