"""Right and wrong answers to the exercises of notebook 04."""

import copy

import numpy as np
import torch

from labutils.exercises.graphs import RECEIVE
from labutils.graphs import functions
from labutils.losses import bce
from labutils.models import build

CASES = {}  # number -> (right answers, wrong ones with their sentences)
NEAR = {}  # number -> answers that are only nearly right, with their sentences


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
    [
        leaves_by_loop,
        leaves_by_recursion,
        leaves_by_functions,
        lambda tensor: tuple(leaves_by_loop(tensor)),
        lambda tensor: dict.fromkeys(leaves_by_loop(tensor)).keys(),
    ],
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


def leaves_by_backward(tensor):
    found = leaves_by_loop(tensor)
    if found:
        tensor.backward()
    return found


NEAR["4.1"] = [
    (leaves_by_backward, "gives the leaves gradients"),
    (lambda tensor: {id(leaf) for leaf in leaves_by_loop(tensor)}, "The set holds a int"),
    (lambda tensor: leaves_by_loop(tensor) | {None}, "The set holds a NoneType"),
    (lambda tensor: {t for t in leaves_by_loop(tensor) if t.shape != (1, 2)}, "you found 2 tensors"),
    (lambda tensor: {t for t in leaves_by_loop(tensor) if t.ndim != 2}, "by two layers"),
    (lambda tensor: list(leaves_by_loop(tensor)) * 2, "gather a set"),
]


def losses_of_two(d_cut="detach", g_cut=None, calls=1, d=None, g=None, order=(0, 1)):
    """An answer to exercise 4.2; the defaults give a right one."""

    def answer(generator, discriminator, real, z):
        fake = generator(z)
        again = generator(z) if calls == 2 else fake
        cut = {"detach": lambda t: t.detach(), "clone": lambda t: t.detach().clone(), None: lambda t: t}
        d_real, d_fake = discriminator(real), discriminator(cut[d_cut](again))
        for_g = discriminator(cut[g_cut](fake))
        d_loss = d(d_real, d_fake) if d else -d_real.log().mean() - (1 - d_fake).log().mean()
        both = d_loss, g(for_g) if g else -for_g.log().mean()
        return both[order[0]], both[order[1]]

    return answer


def losses_by_bce(generator, discriminator, real, z):
    fake, bce = generator(z), torch.nn.BCELoss()
    d_real, d_fake, for_g = discriminator(real), discriminator(fake.detach()), discriminator(fake)
    d_loss = bce(d_real, torch.ones_like(d_real)) + bce(d_fake, torch.zeros_like(d_fake))
    return d_loss, bce(for_g, torch.ones_like(for_g))


def losses_with_a_frozen_copy(generator, discriminator, real, z):
    fake = generator(z)
    d_loss = -discriminator(real).log().mean() - (1 - discriminator(fake.data)).log().mean()
    return d_loss, -copy.deepcopy(discriminator).requires_grad_(False)(fake).log().mean()


def cut_behind_d(generator, discriminator, real, z):
    fake = generator(z)
    d_loss = -discriminator(real).log().mean() - (1 - discriminator(fake).detach()).log().mean()
    return d_loss, -discriminator(fake).log().mean()


def under_no_grad(generator, discriminator, real, z):
    with torch.no_grad():
        fake = generator(z)
    return losses_of_two()(lambda z: fake, discriminator, real, z)


def with_backward_inside(*given):
    d_loss, g_loss = losses_of_two()(*given)
    d_loss.backward()
    return d_loss, g_loss


def losses_by_forward(generator, discriminator, real, z):
    return losses_of_two()(generator.forward, discriminator.forward, real, z)


CASES["4.2"] = (
    [losses_of_two(), losses_by_forward, losses_of_two("clone"), losses_by_bce, losses_with_a_frozen_copy],
    [
        (losses_of_two(None), "D's loss gives G a gradient"),
        (losses_of_two("detach", "detach"), "G's loss gives G no gradient"),
        (under_no_grad, "G's loss gives G no gradient"),
        (losses_of_two(order=(1, 0)), "D's loss gives G a gradient"),
        (losses_of_two(g=lambda p: (1 - p).log().mean()), "the saturating one"),
        (losses_of_two(g=lambda p: p.log().mean()), "G's loss has the wrong sign"),
        (losses_of_two(g=lambda p: -(1 - p).log().mean()), "D's term for fakes"),
        (losses_of_two(d=lambda r, f: -r.log().mean()), "only the real term"),
        (losses_of_two(d=lambda r, f: -(1 - f).log().mean()), "only the fakes' term"),
        (losses_of_two(d=lambda r, f: r.log().mean() + (1 - f).log().mean()), "D's loss has the wrong sign"),
        (lambda generator, discriminator, real, z: None, "returned None; return the two losses"),
    ],
)
NEAR["4.2"] = [
    (losses_of_two(calls=2), "You called the generator 2 times"),
    (with_backward_inside, "There are gradients already"),
    (losses_of_two(g=lambda p: -p.log()), "G's loss has the shape (2, 1): take the mean"),
    (losses_of_two(g=lambda p: -p.log().sum()), "G's loss is a sum over the batch"),
    (losses_of_two(d=lambda r, f: -r.log().sum() - (1 - f).log().sum()), "D's loss is a sum over the batch"),
    (cut_behind_d, "D's gradient is"),
    (losses_of_two(d=lambda r, f: (-r.log().mean() - (1 - f).log().mean()) / 2), "add them"),
    (losses_of_two(d=lambda r, f: (-r.log().mean() - (1 - f).log().mean()).detach()), "reaches no parameter of D"),
]


def frozen_step(
    loss=lambda d: -d.log().mean(), detach=False, freeze="before", restore=True, call=None, which=slice(None)
):
    """An answer to exercise 4.3; the defaults give a right one."""

    def answer(generator, discriminator, z):
        fake = generator(z).detach() if detach else generator(z)
        parameters = list(discriminator.parameters())[which]
        for parameter in parameters:
            parameter.requires_grad = freeze != "before"
        value = loss(discriminator(fake))
        for parameter in parameters:
            parameter.requires_grad = freeze != "after" and (restore or freeze != "before")
        if call == "backward":
            value.backward()
        if restore:
            discriminator.requires_grad_(True)
        return value

    return answer


def frozen_by_flag(generator, discriminator, z):
    discriminator.requires_grad_(False)
    verdict = discriminator(generator(z))
    loss = torch.nn.BCELoss()(verdict, torch.ones_like(verdict))
    discriminator.requires_grad_()
    return loss


def frozen_by_functional_call(generator, discriminator, z):
    fixed = {name: value.detach() for name, value in discriminator.named_parameters()}
    needed = [p.requires_grad for p in discriminator.parameters()]
    loss = -torch.func.functional_call(discriminator, fixed, (generator(z),)).log().mean()
    assert all(needed)
    return loss


def frozen_copy(generator, discriminator, z):
    return -copy.deepcopy(discriminator).requires_grad_(False)(generator(z)).log().mean()


CASES["4.3"] = (
    [frozen_step(), frozen_by_flag, frozen_by_functional_call, frozen_copy, lambda *given: frozen_step()(*given)[None]],
    [
        (frozen_step(detach=True), "No gradient reaches G"),
        (frozen_step(lambda d: (1 - d).log().mean()), "saturating"),
        (frozen_step(lambda d: -(1 - d).log().mean()), "D's loss"),
        (frozen_step(lambda d: d.log().mean()), "sign is wrong"),
        (frozen_step(lambda d: -d.log().sum()), "sum over the batch"),
        (frozen_step(lambda d: d.mean()), "The loss is"),
        (frozen_step(freeze="never"), "not frozen while it judged"),
        (frozen_step(freeze="after"), "not frozen while it judged"),
        (frozen_step(restore=False), "D stays frozen"),
        (lambda generator, discriminator, z: generator(z[0, 0]), "raised"),
        (lambda generator, discriminator, z: None, "returned None; return the loss"),
    ],
)
NEAR["4.3"] = [
    (lambda generator, discriminator, z: -discriminator.forward(generator(z)).log().mean(), "1 of its 1 parameter"),
    (frozen_step(which=slice(0, 1)), "3 of its 4 parameter tensors"),
    (frozen_step(which=slice(0, 3)), "1 of its 4 parameter tensors"),
    (frozen_step(call="backward"), "There are gradients already"),
    (frozen_step(lambda d: -d.log().mean() * 1.001), "The loss is"),
]


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
CASES["4.4"] = (
    [
        MEASURED,
        {step: list(pair) for step, pair in MEASURED.items()},
        {step: torch.tensor(pair) for step, pair in MEASURED.items()},
        {step: tuple(map(torch.tensor, pair)) for step, pair in MEASURED.items()},
        {step: np.array(pair) for step, pair in reversed(MEASURED.items())},
    ],
    [
        (MEASURED | {step: wrong}, f"{step}: it is not {wrong}. {hint}")
        for step, (_, hint) in RECEIVE.items()
        for wrong in ((0, 0), (16, 0), ("8", "8"))
    ]
    + [({"D step": (0, 8)}, "Keep the five steps as they are named")],
)
FIRST = next(iter(RECEIVE))
NEAR["4.4"] = [
    (MEASURED | {FIRST: (0, ...)}, f"{FIRST}: it is not (0, Ellipsis)"),
    (MEASURED | {FIRST: (None, None)}, f"{FIRST}: this one is not filled in yet"),
    (MEASURED | {FIRST: (0, 8, 0)}, "write a pair of numbers"),
    ({step: pair for step, pair in MEASURED.items() if step != FIRST}, "Keep the five steps"),
]
