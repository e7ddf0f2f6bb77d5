"""Checks of notebook 07: the average of a network's weights, smoothed labels, and a GAN that is told the digit."""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from labutils.exercises.answer import Exercise
from labutils.exercises.expect import Wrong, expect, expect_tensor, kind


class average_step(Exercise, number="7.1"):
    """answer(average, network, decay): average <- decay * average + (1 - decay) * network in place, with buffers."""

    may_change = frozenset({"values"})
    advice = (
        ("requires grad", "A weight cannot change in place while gradients are recorded: torch.no_grad()."),
        ("Long", "num_batches_tracked is a whole number, which has no such mean: copy it."),
        ("dtype", "num_batches_tracked is a whole number, which has no such mean: copy it."),
    )

    def cases(self):
        draw = torch.Generator().manual_seed(71)
        shapes = {"0.weight": (4, 3), "0.bias": (4,), "1.weight": (4,), "1.bias": (4,), "1.running_mean": (4,)}
        states = []
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
        return {"average": dict(networks[0].state_dict()), "network": dict(networks[1].state_dict())}

    def judge(self, case, seen):
        before, there, after, decay = case["average"], case["network"], seen["average"], case["decay"]
        if any(not torch.equal(value, there[key]) for key, value in seen["network"].items()):
            raise Wrong("The network has changed: only the average must.")
        if all(torch.equal(after[key], value) for key, value in before.items()):
            raise Wrong("The average has not changed: write into its tensors, by copy_ or lerp_.")
        for key, a in before.items():
            out, b, buffer = after[key], there[key], "running" in key
            if key.endswith("num_batches_tracked") or (buffer and torch.allclose(out, b)):
                continue  # no mean is computed from the number; many programs take the newest statistics
            right, swapped = decay * a + (1 - decay) * b, (1 - decay) * a + decay * b
            where = "every tensor of state_dict() takes part"
            if buffer:
                where = "buffers are in state_dict(), not in parameters()"
            mistakes = [
                (a, f"{key} was forgotten: {where}."),
                (swapped, "decay and 1 - decay are exchanged: with 0.9 the average keeps nine tenths of itself."),
                (b, f"{key} is a copy of the network's: the old average must count too."),
            ]
            otherwise = f"{key} is not decay * average + (1 - decay) * network, with decay = {decay}."
            expect(out, right, mistakes, otherwise, atol=1e-6)


class best_smoothed(Exercise, number="7.2"):
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


class conditioning(Exercise, number="7.3"):
    """join_noise(z (N, 100), labels) -> (N, 110); join_images(x (N, 1, 28, 28), labels) -> (N, 11, 28, 28)."""

    takes = 2
    advice = (("Sizes of tensors must match", "A batch need not hold a 9: one_hot needs the number of classes, 10."),)

    def cases(self):
        draw = torch.Generator().manual_seed(73)
        cases = []
        for labels in ([7, 0, 3, 3, 9], [2, 5, 1], [4]):
            z = torch.randn(len(labels), 100, generator=draw)
            x = torch.rand(len(labels), 1, 28, 28, generator=draw) * 2 - 1
            cases.append({"z": z, "x": x, "labels": torch.tensor(labels)})
        return cases

    def perform(self, answer, case):
        join_noise, join_images = answer
        x, labels = case["x"].requires_grad_(), case["labels"]
        images = join_images(x, labels)
        graph = isinstance(images, Tensor) and images.requires_grad
        return {"noise": join_noise(case["z"], labels), "images": images, "graph": graph}

    def judge(self, case, seen):
        z, x, labels = case.values()
        n, out = len(labels), seen["noise"]
        advice = "The label is no quantity, 7 is not more than 3: one-hot, ten numbers."
        _expect_shape(out, (n, 110), "join_noise", (n, 101), advice)
        _expect_code(_joined_to(z, out), labels, "join_noise", "z")
        out = seen["images"]
        advice = "One channel for each digit: a label is no quantity."
        _expect_shape(out, (n, 11, 28, 28), "join_images", (n, 2, 28, 28), advice)
        channels = _joined_to(x, out)
        if channels is not None and (channels != channels[:, :, :1, :1]).any():
            raise Wrong(
                "The channels of the label differ from pixel to pixel: D must know it everywhere, so fill them."
            )
        _expect_code(None if channels is None else channels[:, :, 0, 0], labels, "join_images", "x")
        if not seen["graph"]:
            raise Wrong(
                "No gradient reaches x any more, so G would learn nothing: no .detach(), .data or no_grad here."
            )


def _expect_shape(out, shape: tuple, name: str, as_number: tuple, advice: str) -> None:
    """Raise Wrong unless `out` is a tensor of this shape; `advice` is for the shape that a label as a number gives."""
    found = tuple(out.shape) if isinstance(out, Tensor) else kind(out)
    if found != shape:
        raise Wrong(f"{name} returned {found}; expected {shape}." + f" {advice}" * (found == as_number))


def _joined_to(given: Tensor, out: Tensor) -> Tensor | None:
    """The ten columns or channels that `out` has before or after `given`; None if it does not hold `given`."""
    sides = ((out[:, -10:], out[:, :-10]), (out[:, :10], out[:, 10:]))
    return next((label for label, rest in sides if torch.equal(rest, given)), None)


def _expect_code(code: Tensor | None, labels: Tensor, name: str, what: str) -> None:
    """Raise Wrong if `code` (N, 10) does not say each of the labels, by one value that is above nine equal ones."""
    if code is None:
        raise Wrong(f"{name} must hold {what} unchanged, before or after the label.")
    code = code.float()
    low, high = code.aminmax()
    if low == high:
        raise Wrong(f"{name} says the same for every label: mark the place of the label.")
    if len(labels) > 1 and (code[:1] == code).all():
        raise Wrong(f"{name} gives every sample the label of the first: each has its own.")
    if torch.equal(code, low + (high - low) * one_hot(9 - labels, 10).float()):
        raise Wrong(f"{name} counts the places from the end: digit 0 is the first.")
    if not torch.equal(code, torch.where(one_hot(labels, 10).bool(), high, low)):
        raise Wrong(f"{name} does not hold a one-hot label: ten numbers, one of them high, at the label's place.")
