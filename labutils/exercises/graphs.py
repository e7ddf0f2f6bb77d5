"""Checks of notebook 04: the leaves of a graph, who receives a gradient, and a frozen discriminator."""

from collections.abc import Callable

import torch

from labutils.exercises.answer import Wrong, exercise, expect


@exercise("4.1")
def leaves(answer: Callable) -> None:
    """answer(tensor) -> the set of leaf tensors that backward() from it would give a gradient."""
    w, v, cut, x = (torch.ones(2, requires_grad=needed) for needed in (True, True, True, False))
    deep = w * x
    for _ in range(30):
        deep = deep + v
    loss = (deep * cut.detach()).sum()
    try:
        found = answer(loss)
    except AttributeError:
        raise Wrong("next_functions holds None for an input that needs no gradient: skip it.") from None
    if not isinstance(found, set | frozenset | list | tuple):
        raise Wrong(f"Your function returned a {type(found).__name__}; it must return a set of tensors.")
    if any(hasattr(f, "next_functions") for f in found):
        raise Wrong("The set holds functions: the leaf itself is `function.variable`, where a function has one.")
    ids = sorted(map(id, found))
    if len(ids) > len(set(ids)):
        raise Wrong(f"One leaf is used 30 times; your {len(ids)} tensors hold it more than once: gather them in a set.")
    if id(v) in ids and id(w) not in ids:
        raise Wrong("A leaf far behind the loss is missing: follow the next_functions of every function you meet.")
    if ids != sorted([id(w), id(v)]):
        raise Wrong(f"The loss was made of 2 leaves, a detached one and a constant; you found {len(ids)} tensors.")
    try:
        if len(answer(cut.detach())):
            raise Wrong("Behind a detached tensor there is nothing: the set must be empty.")
    except (AttributeError, TypeError):
        raise Wrong("The grad_fn of a detached tensor is None: return an empty set for it.") from None


RECEIVE = {  # a step of the MLP GAN -> (tensors of G, tensors of D) with a gradient after it; what to think of
    "D step, fakes made under no_grad": ((0, 8), "What is made under no_grad has no graph, as if it were detached."),
    "D step, no detach, first layer of G frozen": ((6, 8), "The graph reaches G; a layer has two tensors."),
    "G step, last layer of D frozen": ((8, 6), "D computes the loss of G: what of D is not frozen is a leaf too."),
    "G step, all of D frozen but its first layer": ((8, 2), "Each tensor counts by itself: frozen or not."),
    "G step, D frozen, last layer of G frozen": ((6, 0), "A frozen layer takes no gradient, but lets it pass."),
}


@exercise("4.2")
def receive(prediction: dict) -> None:
    """prediction[step] = (tensors of G, tensors of D) that hold a gradient after the backward pass of that step."""
    if set(prediction) != set(RECEIVE):
        raise Wrong(f"Keep the five steps as they are named: {', '.join(RECEIVE)}.")
    if any(None in pair for pair in prediction.values()):
        raise NotImplementedError
    for step, (right, hint) in RECEIVE.items():
        if tuple(prediction[step]) != right:
            raise Wrong(f"{step}: it is not {tuple(prediction[step])}. {hint}")


@exercise("4.3")
def frozen(answer: Callable) -> None:
    """answer(generator, discriminator, z) -> G's gradients of -log D(G(z)), D frozen meanwhile and restored after."""
    generator = torch.nn.Linear(1, 1, bias=False)
    discriminator = torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False), torch.nn.Sigmoid())
    for network, weight in ((generator, 0.5), (discriminator[0], 2.0)):
        torch.nn.init.constant_(network.weight, weight)
    z, needed = torch.tensor([[1.0], [3.0]]), []
    discriminator.register_forward_pre_hook(lambda *_: needed.append(discriminator[0].weight.requires_grad))
    try:
        found = answer(generator, discriminator, z)
    except RuntimeError as error:
        if "does not require grad" not in str(error):
            raise
        raise Wrong("No gradient reached G: its images must not be detached.") from None
    if not isinstance(found, tuple | list) or len(found) != 1:
        raise Wrong(f"Your function returned {found!r}; return a list, the gradient of each parameter of G.")
    (out,) = found
    d = torch.sigmoid(z)  # here D(G(z)) = sigmoid(2 * 0.5 * z)
    right, saturating = -((1 - d) * 2 * z).mean().item(), -(d * 2 * z).mean().item()
    if out is None:
        raise Wrong("No gradient reached G: call backward() on its loss, on images that are not detached.")
    gradient = out.item()
    mistakes = [
        (saturating, "This is the gradient of the saturating loss, log(1 - D(G(z)))."),
        (-saturating, "This is the gradient of D's loss: G wants the label 1 for its images."),
        (-right, "The sign is wrong: the loss is -log D(G(z)), and G makes it smaller."),
        (2 * right, "This is the sum over the batch; the loss is the mean."),
    ]
    expect(gradient, right, mistakes, f"The gradient is {gradient:.4f}; expected {right:.4f}.", atol=1e-5, rtol=0)
    if any(needed):
        raise Wrong("D was not frozen while it judged the fakes, so the graph has its parameters: freeze it before.")
    if not discriminator[0].weight.requires_grad:
        raise Wrong("D stays frozen: its own next step would learn nothing. Restore requires_grad.")
