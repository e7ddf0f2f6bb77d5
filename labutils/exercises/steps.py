"""Checks of notebook 05: the step of the discriminator and that of the generator."""

from collections.abc import Callable
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from labutils.exercises.answer import Exercise
from labutils.exercises.expect import Wrong, expect, expect_tensor, shown


class Critic(nn.Module):
    """A small discriminator of images of `pixels` values; with `hidden` units it has batch norm."""

    def __init__(self, pixels: int, hidden: int):
        super().__init__()
        inner = [nn.Linear(pixels, hidden), nn.BatchNorm1d(hidden), nn.LeakyReLU(0.2)] if hidden else []
        self.layers = nn.Sequential(nn.Flatten(), *inner, nn.Linear(hidden or pixels, 1))

    def logits(self, x):
        return self.layers(x)

    def forward(self, x):
        return torch.sigmoid(self.layers(x))


def players(case: dict) -> tuple[nn.Module, nn.Module]:
    """(generator, discriminator) with the weights of the case; z (N, 3) -> images (N, 1, 1, pixels)."""
    pixels, hidden = case["pixels"], case["hidden"]
    generator = nn.Sequential(nn.Linear(3, pixels), nn.Unflatten(1, (1, 1, pixels)))
    discriminator = Critic(pixels, hidden)
    for network, weights in ((generator, case["g"]), (discriminator, case["d"])):
        vector_to_parameters(torch.as_tensor(weights).clone(), network.parameters())
    return generator, discriminator


def step_cases(sure: float) -> list[dict]:
    """A step small enough for pencil and paper, one with batch norm and moments, one with a D that is `sure`."""
    draw = torch.Generator().manual_seed(51)
    tiny = {"pixels": 1, "hidden": 0, "momentum": 0.0, "g": [0.0, 0.0, 0.0, -1.0], "d": [0.5, 0.25]}
    tiny |= {"real": torch.full((1, 3, 1, 1, 1), 2.0), "z": torch.zeros(1, 3, 3)}
    large = {"pixels": 4, "hidden": 5, "momentum": 0.9}
    large |= {"g": torch.randn(16, generator=draw), "d": torch.randn(41, generator=draw)}
    large |= {"real": torch.randn(3, 7, 1, 1, 4, generator=draw), "z": torch.randn(3, 7, 3, generator=draw)}
    return [tiny, large, tiny | {"d": [-sure, 0.0]}]


def rounds(case: dict, step: Callable, of_d: bool) -> list[dict]:
    """Some steps one after the other, each on new fakes -> what each returned and moved."""
    seen, stepped, (generator, discriminator) = [], [], players(case)
    mover, other = (discriminator, generator) if of_d else (generator, discriminator)
    optimizer = torch.optim.SGD(mover.parameters(), 0.1, case["momentum"])
    optimizer.register_step_post_hook(lambda *given: stepped.append(1))
    before = parameters_to_vector(other.parameters()).detach()
    for real, z in zip(case["real"], case["z"], strict=True):
        for parameter in discriminator.parameters() if of_d else ():
            parameter.grad = torch.ones_like(parameter)  # as a step of G leaves them
        fake = generator(z)
        given = [real.clone(), fake.detach().clone()]
        out = step(discriminator, optimizer, *([real] if of_d else []), fake)
        outs = list(out) if isinstance(out, tuple | list) and (of_d or len(out) > 1) else [out]
        seen.append({
            "outs": outs, "stepped": len(stepped),
            "graph": any(isinstance(each, torch.Tensor) and each.requires_grad for each in outs),
            "written": not (torch.equal(real, given[0]) and torch.equal(fake.detach(), given[1])),
            "other moved": not torch.equal(parameters_to_vector(other.parameters()).detach(), before),
            "leaked": of_d and any(p.grad is not None for p in generator.parameters()),
            "weights": parameters_to_vector(mover.parameters()).detach(),
        })  # fmt: skip
        if len(outs) != (3 if of_d else 1) or not all(isinstance(each, torch.Tensor) for each in outs):
            break
    return seen


RIGHT = {"labels": (1.0, 0.0), "weights": (1, 1), "sign": 1, "reduction": "mean", "entropy": "with_logits", "zero": 1}
RIGHT |= {"joint": False, "train": True, "move": True, "cut": (0, 0), "form": lambda *outs: outs}


def one_step(of_d: bool, **otherwise) -> Callable:
    """The step of D, or of G, with one thing or another of RIGHT done otherwise."""
    how = SimpleNamespace(**RIGHT | otherwise)

    def loss_of(logits, target):
        logits = logits if how.entropy == "with_logits" else torch.sigmoid(logits)
        entropy = F.binary_cross_entropy if how.entropy == "plain" else F.binary_cross_entropy_with_logits
        return entropy(logits, torch.full_like(logits, target), reduction=how.reduction)

    def step(discriminator, optimizer, *images):
        discriminator.train(how.train)
        images = [image.detach() if of_d else image for image in images]
        logits = [discriminator.logits(image) for image in images]
        if how.joint:
            logits = discriminator.logits(torch.cat(images)).chunk(2)
        learned = [out.detach() if cut else out for out, cut in zip(logits, how.cut, strict=False)]
        loss = sum(w * loss_of(*each) for w, *each in zip(how.weights, learned, how.labels, strict=False))
        if how.zero == 1:
            optimizer.zero_grad()
        (how.sign * loss).backward()
        if how.move:
            optimizer.step()
        if how.zero == 2:  # too late
            optimizer.zero_grad()
        outs = how.form(loss.detach(), *(out.detach() for out in logits))
        return outs if of_d else outs[0]

    return step


COMMON = [  # what is done otherwise -> what is said of it, of either step
    ({"sign": -1}, "The network climbs its loss: call backward() on the loss itself, with no minus."),
    ({"reduction": "sum"}, "This is the sum over the batch; take the mean, or the step grows with the batch."),
    ({"entropy": "twice"}, "The sigmoid is taken twice: a loss `with_logits` takes logits, and D(x) is none."),
    ({"train": False}, "D judged in eval mode: in training batch norm takes the statistics of the batch."),
]
SURE = "Where D is sure, the sigmoid is exactly 0 or 1 and BCELoss has no gradient left: take the loss of the logits."


class Step:
    """What the checks of the two steps share."""

    may_change = frozenset({"values", "gradients"})  # judged by what is seen
    of_d, names, mistakes = True, (), ()
    advice = (
        ("should be between 0 and 1", "nn.BCELoss wants probabilities; for logits it is nn.BCEWithLogitsLoss."),
        ("does not require grad", "no gradient can reach the network: nothing may be detached or under no_grad here."),
        ("has no attribute 'layers'", "D may be any network: call it, or its logits."),
    )

    def perform(self, answer, case):
        return {"rounds": rounds(case, answer, self.of_d)}

    def judge(self, case, seen):
        right, settings = rounds(case, one_step(self.of_d), self.of_d), [*COMMON, *self.mistakes]
        wrong = [(rounds(case, one_step(self.of_d, **change), self.of_d), say) for change, say in settings]
        for i, found in enumerate(seen["rounds"]):
            self._form(found, right[i])
            if found["written"]:
                raise Wrong("Your step writes into the images that it is given: build something new.")
            if found["stepped"] != i + 1:
                raise Wrong(f"step() of the optimizer given was called {found['stepped'] - i} times; call it once.")
            out, wanted = together(found), together(right[i])
            mistakes = [(together(each[i]), say) for each, say in wrong]
            names = [*self._labels(right[i]), *(f"weight {k}" for k in range(len(found["weights"])))]
            where = f"In step {i + 1} with batch norm and momentum, "
            if not case["hidden"]:
                w, b = case["d"]
                sure = ", which is very sure (take the loss of the logits)" * (abs(w) > 9)
                where = f"For D(x) = sigmoid({w:g} x + {b:g}){sure}, real x = 2, fakes -1, SGD with rate 0.1: "
            otherwise = where + "{at} is {seen}; expected {expected}."
            expect(out, wanted, mistakes, otherwise, atol=1e-4, names=names)
            if found["leaked"]:
                raise Wrong("G got a gradient in D's step: detach the fakes, or G's next step would add it to its own.")
            if found["other moved"]:
                raise Wrong(f"{'G' if self.of_d else 'D'} has moved: only the network of this optimizer may.")
            if found["graph"]:
                raise Wrong("What you return still carries its graph, which keeps a batch in memory: detach() it.")

    def _labels(self, right: dict) -> list[str]:
        return [name for name, out in zip(self.names, right["outs"], strict=True) for _ in range(out.numel())]

    def _form(self, found: dict, right: dict) -> None:
        outs = found["outs"]
        if len(outs) != len(right["outs"]):
            what = shown(outs[0]) if len(outs) == 1 else f"{len(outs)} things, {shown(outs)}"
            raise Wrong(f"Your step returned {what}; expected {', '.join(self.names)}.")
        for name, out, wanted in zip(self.names, outs, right["outs"], strict=True):
            if isinstance(out, float):
                raise Wrong(f"{name} is a number; return it as a tensor, detached: .item() waits for the device.")
            expect_tensor(out, wanted.shape, what=f"As {name} your step")


def together(seen: dict) -> torch.Tensor:
    """All numbers of a step: what it returned, and the weights after it."""
    return torch.cat([*(out.flatten().double() for out in seen["outs"]), seen["weights"].double()])


class discriminator_step(Step, Exercise, number="5.1"):
    """answer(discriminator, optimizer, real, fake) -> (loss, real logits, fake logits), detached; D has moved."""

    names = ("the loss", "the logits of real images", "the logits of fakes")
    mistakes = (
        ({"move": False}, "What you return is right, but D has not moved: zero_grad(), then backward(), then step()."),
        ({"labels": (0.0, 1.0)}, "The labels are exchanged: real images should get 1, fakes 0."),
        ({"labels": (1.0, 1.0)}, "Both have the label 1: fakes should get 0."),
        ({"labels": (0.0, 0.0)}, "Both have the label 0: real images should get 1."),
        ({"weights": (1, 0)}, "The term of the fakes is missing."),
        ({"weights": (0, 1)}, "The term of the real images is missing."),
        ({"weights": (0.5, 0.5)}, "This is the mean of the two terms; the original report, and this lab, sum them."),
        ({"zero": 0}, "Gradients are added up: before backward() comes optimizer.zero_grad()."),
        ({"zero": 2}, "zero_grad() comes too late: a step of G left gradients in D. Call it before backward()."),
        ({"cut": (0, 1)}, "The loss is right, but D learns of real images alone: detach the fakes, not their logits."),
        ({"cut": (1, 0)}, "The loss is right, but D learns of the fakes alone: no zero_grad() after a backward()."),
        ({"joint": True}, "D saw real and fake in one batch: with batch norm each must be a batch of its own."),
        ({"entropy": "plain"}, SURE),
        ({"form": lambda loss, real, fake: (loss, fake, real)}, "The order is loss, real logits, fake logits."),
        ({"form": lambda loss, *outs: (loss, *map(torch.sigmoid, outs))}, "Return the logits, not D(x)."),
    )  # fmt: skip

    def cases(self):
        return step_cases(40.0)


class generator_step(Step, Exercise, number="5.2"):
    """answer(discriminator, optimizer, fake) -> the loss, detached; G, which made the fakes, has moved."""

    of_d, names = False, ("the loss",)
    mistakes = (
        ({"move": False}, "The loss is right, but G has not moved: is fake detached, or backward() not before step()?"),
        ({"labels": (0.0,)}, "That is D's loss on fakes, label 0; G wants the label 1 for them."),
        ({"labels": (0.0,), "weights": (-1,)}, "This is the saturating loss: -log D(G(z)) is wanted."),
        ({"zero": 0}, "Gradients are added up from step to step: before backward() comes optimizer.zero_grad()."),
        ({"entropy": "plain"}, SURE),
    )

    def cases(self):
        return step_cases(-120.0)
