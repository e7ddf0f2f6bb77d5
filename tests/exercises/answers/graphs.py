"""Right and wrong answers to the exercises of notebook 04."""

import torch

from labutils.exercises.graphs import RECEIVE
from labutils.graphs import functions
from labutils.losses import bce
from labutils.models import build

CASES = {}  # number -> (right answers, wrong ones with their sentences)


def leaves_by_loop(tensor):
    queue, seen, found = [tensor.grad_fn], set(), set()
    while queue:
        function = queue.pop()
        if function is None or function in seen:
            continue
        seen.add(function)
        if hasattr(function, "variable"):
            found.add(function.variable)
        queue += [f for f, _ in function.next_functions]
    return found


def leaves_by_recursion(tensor):
    def behind(function):
        if function is None:
            return set()
        own = {function.variable} if hasattr(function, "variable") else set()
        return own.union(*(behind(f) for f, _ in function.next_functions))

    return behind(tensor.grad_fn)


def leaves_by_functions(tensor):
    nodes = functions(tensor) if tensor.grad_fn else []
    return [node.variable for node in nodes if hasattr(node, "variable")]


def first_level_only(tensor):
    nodes = [tensor.grad_fn] + [f for f, _ in tensor.grad_fn.next_functions]
    nodes += [f for g in nodes for f, _ in g.next_functions if f]
    nodes += [f for g in nodes for f, _ in g.next_functions if f]
    return {node.variable for node in nodes if hasattr(node, "variable")}


def leaves_many_times(tensor):
    def behind(function):
        own = [function.variable] if hasattr(function, "variable") else []
        return own + [leaf for f, _ in function.next_functions if f for leaf in behind(f)]

    return behind(tensor.grad_fn)


def without_skipping_none(tensor):
    def behind(function):
        own = {function.variable} if hasattr(function, "variable") else set()
        return own.union(*(behind(f) for f, _ in function.next_functions))

    return behind(tensor.grad_fn)


CASES["4.1"] = (
    [leaves_by_loop, leaves_by_recursion, leaves_by_functions],
    [
        (without_skipping_none, "raised AttributeError"),
        (lambda tensor: None, "returned a NoneType"),
        (lambda tensor: set(functions(tensor)), "`function.variable`"),
        (lambda tensor: {f for f in functions(tensor) if hasattr(f, "variable")}, "`function.variable`"),
        (leaves_many_times, "gather a set"),
        (first_level_only, "every function you meet"),
        (lambda tensor: leaves_by_loop(tensor) | {torch.ones(2)}, "you found 3 tensors"),
        (lambda tensor: set(), "you found 0 tensors"),
        (lambda tensor: {f.variable for f in functions(tensor) if hasattr(f, "variable")}, "raised ValueError"),
        (lambda tensor: leaves_by_loop(tensor) if tensor.grad_fn.next_functions else None, "raised AttributeError"),
        (lambda tensor: leaves_by_loop(tensor) or {tensor}, "return an empty set"),
    ],
)


def gradients_after(step: str) -> tuple[int, int]:
    """How many tensors of G and of D hold a gradient after that step: carried out, not predicted."""
    generator, discriminator = build("mlp")
    g_layers, d_layers = (
        [layer for layer in net.layers if isinstance(layer, torch.nn.Linear)] for net in (generator, discriminator)
    )
    frozen = {
        "D step, fakes made under no_grad": [],
        "D step, no detach, first layer of G frozen": g_layers[:1],
        "G step, last layer of D frozen": d_layers[-1:],
        "G step, all of D frozen but its first layer": d_layers[1:],
        "G step, D frozen, last layer of G frozen": [discriminator, g_layers[-1]],
    }
    for module in frozen[step]:
        module.requires_grad_(False)
    with torch.set_grad_enabled("no_grad" not in step):
        fake = generator(torch.randn(2, 100))
    bce(discriminator.logits(fake), 0 if step.startswith("D") else 1).backward()
    return tuple(sum(p.grad is not None for p in net.parameters()) for net in (generator, discriminator))


MEASURED = {step: gradients_after(step) for step in RECEIVE}
CASES["4.2"] = (
    [MEASURED, {step: list(pair) for step, pair in MEASURED.items()}],
    [
        (MEASURED | {step: wrong}, f"{step}: it is not {wrong}. {hint}")
        for step, (_, hint) in RECEIVE.items()
        for wrong in ((0, 0), (16, 0), ("8", "8"))
    ]
    + [({"D step": (0, 8)}, "Keep the five steps as they are named")],
)


def frozen_step(loss=lambda d: -d.log().mean(), detach=False, freeze="before", restore=True, call="backward"):
    """An answer to exercise 4.3; the defaults give a right one."""

    def answer(generator, discriminator, z):
        fake = generator(z).detach() if detach else generator(z)
        discriminator.requires_grad_(freeze != "before")
        value = loss(discriminator(fake))
        discriminator.requires_grad_(freeze != "after" and (restore or freeze != "before"))
        if call == "backward":
            value.backward()
        if restore:
            discriminator.requires_grad_(True)
        return [p.grad for p in generator.parameters()]

    return answer


def frozen_by_autograd(generator, discriminator, z):
    for parameter in discriminator.parameters():
        parameter.requires_grad = False
    verdict = discriminator(generator(z))
    loss = torch.nn.BCELoss()(verdict, torch.ones_like(verdict))
    gradients = torch.autograd.grad(loss, list(generator.parameters()))
    for parameter in discriminator.parameters():
        parameter.requires_grad = True
    return gradients


CASES["4.3"] = (
    [frozen_step(), frozen_by_autograd],
    [
        (frozen_step(detach=True), "raised RuntimeError"),
        (frozen_step(detach=True, freeze="never"), "No gradient reached G: call backward()"),
        (frozen_step(call=None), "No gradient reached G: call backward()"),
        (frozen_step(lambda d: (1 - d).log().mean()), "saturating"),
        (frozen_step(lambda d: -(1 - d).log().mean()), "D's loss"),
        (frozen_step(lambda d: d.log().mean()), "sign is wrong"),
        (frozen_step(lambda d: -d.log().sum()), "sum over the batch"),
        (frozen_step(lambda d: d.mean()), "A gradient is"),
        (frozen_step(freeze="never"), "not frozen while it judged"),
        (frozen_step(freeze="after"), "not frozen while it judged"),
        (frozen_step(restore=False), "D stays frozen"),
        (lambda generator, discriminator, z: generator(z[0, 0]), "raised"),
        (lambda generator, discriminator, z: None, "returned None; return a list"),
    ],
)
