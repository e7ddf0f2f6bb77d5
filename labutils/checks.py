"""Checks of the notebooks' exercises: each says what is wrong with an answer, not only that it is wrong."""

import functools
import itertools
import math
from collections.abc import Callable

import torch


class Wrong(Exception):
    """An answer is not right yet; the message says in which way."""


def exercise(number: str) -> Callable:
    """Make a check of exercise `number`: the decorated function takes the student's answer and raises Wrong(sentence).

    The check prints one sentence and returns whether the answer is right; it never raises.
    """

    def decorate(body: Callable) -> Callable:
        @functools.wraps(body)
        def check(*answer) -> bool:
            try:
                body(*answer)
            except NotImplementedError:
                print(f"Exercise {number}: not attempted yet.")
            except Wrong as wrong:
                print(f"Exercise {number}: not yet. {wrong}")
            except Exception as error:
                print(f"Exercise {number}: your code raised {type(error).__name__}: {error}")
            else:
                print(f"Exercise {number}: correct.")
                return True
            return False

        return check

    return decorate


@exercise("1.1")
def best_discriminator(answer: Callable) -> None:
    """answer(x (N,)) -> D*(x) (N,) for p_data = N(0, 1) and p_g = N(1, 2^2)."""
    x = torch.linspace(-5, 5, 41)
    out = _tensor(answer(x.clone()), x.shape, x.dtype)
    real, fake = torch.exp(-(x**2) / 2), torch.exp(-((x - 1) ** 2) / 8)  # without their common 1 / sqrt(2 pi)
    right = real / (real + fake / 2)
    for wrong, reason in (
        (1 - right, "That is the probability that x is fake: the numerator is p_data."),
        (2 * real / fake, "That is the ratio p_data / p_g, which exceeds 1: divide by p_data + p_g."),
        (real / (real + fake), "A Gaussian density has the factor 1 / deviation in front; here it does not cancel."),
        (real / (real + torch.exp(-((x - 1) ** 2) / 32) / 4), "N(1, 2^2) has deviation 2; 4 is its variance."),
        (real / (real + torch.exp(-((x + 1) ** 2) / 8) / 2), "The mean of the fakes is 1, not -1."),
    ):
        if torch.allclose(out, wrong, atol=1e-4):
            raise Wrong(reason)
    if not torch.allclose(out, right, atol=1e-4):
        raise Wrong(f"At x = 0 your D is {out[20]:.4f}; expected {right[20]:.4f}.")


@exercise("1.2")
def saturating_gradient(answer: Callable) -> None:
    """answer(logits (N,)) -> d/dl log(1 - sigmoid(l)) at each logit, (N,)."""
    logits = torch.linspace(-6, 6, 25)
    out, d = _tensor(answer(logits.clone()), logits.shape, logits.dtype), torch.sigmoid(logits)
    for wrong, reason in (
        (d, "The sign is wrong: the loss falls when the logit rises."),
        (d - 1, "That is the gradient of the non-saturating loss, -log sigmoid(l)."),
        (-1 / (1 - d), "That is the derivative with respect to D: multiply by dD/dl = D (1 - D)."),
        (d * (1 - d), "That is the derivative of the sigmoid alone: the logarithm has one too."),
        ((1 - d).log(), "That is the loss itself; its derivative with respect to the logit is wanted."),
        (-d / len(d), "You divided by the number of logits: each logit's own gradient is wanted, not that of a mean."),
    ):
        if torch.allclose(out, wrong, atol=1e-4):
            raise Wrong(reason)
    if not torch.allclose(out, -d, atol=1e-4):
        raise Wrong(f"At the logits 0 and 6 you return {out[12]:.4f} and {out[-1]:.4f}; expected -0.5000 and -0.9975.")


@exercise("1.3")
def nonsaturating_step(answer: Callable) -> None:
    """answer(theta, psi, h) -> (theta, psi) after D's step on V and G's answer on -log sigmoid(psi theta)."""

    def sigmoid(t):
        return 1 / (1 + math.exp(-t))

    for theta, psi, h in ((1.5, 0.8, 0.2), (-0.7, 1.2, 0.1)):
        out = answer(theta, psi, h)
        if not isinstance(out, tuple | list) or len(out) != 2:
            raise Wrong(f"Your function returned {out!r}; return the two numbers (theta, psi).")
        out = [float(torch.as_tensor(number, dtype=torch.float64).detach()) for number in out]
        new = psi - h * theta * sigmoid(psi * theta)
        right = (theta + h * new * (1 - sigmoid(new * theta)), new)
        first = theta + h * psi * (1 - sigmoid(psi * theta))
        for wrong, reason in (
            (right[::-1], "The order is (theta, psi)."),
            ((first, new), "Those are simultaneous steps: G must see the new psi."),
            ((first, psi - h * first * sigmoid(psi * first)), "G moved first: D moves first, and G answers."),
            ((theta + h * new * sigmoid(new * theta), new), "That is G's step on the saturating loss."),
            ((2 * theta - right[0], new), "G went uphill on its loss: subtract h times the gradient."),
        ):
            if all(math.isclose(a, b, abs_tol=1e-6) for a, b in zip(out, wrong, strict=True)):
                raise Wrong(reason)
        if math.isclose(out[1], 2 * psi - new, abs_tol=1e-6):
            raise Wrong("D went downhill on V: add h times the gradient, which is -theta sigmoid(psi theta).")
        if not all(math.isclose(a, b, abs_tol=1e-6) for a, b in zip(out, right, strict=True)):
            found, expected = (f"({a:.4f}, {b:.4f})" for a, b in (out, right))
            raise Wrong(f"From ({theta}, {psi}) with h = {h} you reach {found}; expected {expected}.")


@exercise("2.1")
def normalise(answer: Callable) -> None:
    """answer(pixels uint8 (N, 28, 28)) -> float32 in [-1, 1], as ToTensor and Normalize((0.5,), (0.5,)) do."""
    pixels = torch.arange(2 * 28 * 28).remainder(256).to(torch.uint8).reshape(2, 28, 28)
    given = pixels.clone()
    out = _tensor(answer(given), pixels.shape, torch.float32)
    right = pixels.float() / 127.5 - 1
    if not torch.equal(given, pixels):
        raise Wrong("Your function changes its input: work on a copy, such as pixels.float().")
    for wrong, reason in (
        (pixels / 255, "The values lie in [0, 1]: that is ToTensor alone; Normalize((0.5,), (0.5,)) comes after it."),
        (pixels / 255 - 0.5, "The values lie in [-0.5, 0.5]: after subtracting 0.5, divide by 0.5."),
        ((pixels / 255 - 0.1307) / 0.3081, "That gives mean 0 and deviation 1; here the range [-1, 1] is wanted."),
    ):
        if torch.allclose(out, wrong, atol=1e-3):
            raise Wrong(reason)
    if (out.flatten()[:256].diff() < 0).any():
        raise Wrong("A brighter pixel gets a smaller value somewhere: bytes wrap around, so convert to float first.")
    if not torch.allclose(out, right, atol=1e-6):
        ends = [f"{value:.4f}" for value in out.flatten()[[0, 128, 255]].tolist()]
        raise Wrong(f"0, 128 and 255 become {', '.join(ends)}; they must become -1.0000, 0.0039, 1.0000.")


@exercise("2.2")
def to_pixels(answer: Callable) -> None:
    """answer(images float32 in about [-1, 1]) -> uint8 0..255, the inverse of exercise 2.1."""
    pixels = torch.arange(256).to(torch.uint8).reshape(1, 1, 16, 16)
    images = (pixels.float() / 255 - 0.5) / 0.5
    given = images.clone()
    out = _tensor(answer(given), images.shape, torch.uint8)
    if not torch.equal(given, images):
        raise Wrong("Your function changes its input: avoid in-place operations such as clamp_ on it.")
    lost = pixels.int() - out.int()
    if out.max() <= 1:
        raise Wrong("The result holds only 0 and 1: multiply by 255 before you convert to uint8.")
    if set(lost.unique().tolist()) == {0, 1}:
        raise Wrong(f"{int(lost.sum())} of 256 values come back one too small: uint8 cuts fractions off; round first.")
    if lost.any():
        raise Wrong(f"Of 256 byte values, {int((lost != 0).sum())} do not come back as they were.")
    beyond = answer(torch.tensor([-1.3, -1.02, 1.02, 1.3]).reshape(1, 1, 2, 2)).flatten().tolist()
    if beyond != [0, 0, 255, 255]:
        raise Wrong(f"-1.3, -1.02, 1.02 and 1.3 become {beyond}: bytes wrap around; limit the range with clamp first.")


@exercise("2.3")
def epoch(answer: Callable) -> None:
    """answer(images, batch_size) yields batches: each image once, in a new random order at each call."""
    images = torch.arange(300.0).reshape(300, 1, 1, 1).repeat(1, 1, 28, 28)
    orders = []
    for _ in range(2):
        batches = answer(images, 64)
        if not hasattr(batches, "__iter__"):
            raise Wrong(f"Your function returned {batches!r}: hand each batch out with yield.")
        batches = list(itertools.islice(batches, 301))
        if not batches or any(batch.shape[1:] != images.shape[1:] for batch in batches):
            raise Wrong("Each batch must have the shape (N, 1, 28, 28).")
        sizes = [len(batch) for batch in batches]
        order = torch.cat(batches)[:, 0, 0, 0].long()
        if sizes == [64, 64, 64, 64]:
            raise Wrong("The last batch, the smaller one with 44 of 300 images, is missing.")
        if len(order) == 300 and len(order.unique()) < 300:
            raise Wrong("Some images come twice and others never: draw one torch.randperm an epoch and cut it.")
        if sizes != [64, 64, 64, 64, 44]:
            raise Wrong(f"300 images in batches of 64 came as {sizes[:8]}; expected [64, 64, 64, 64, 44].")
        orders.append(order)
    if torch.equal(orders[0], torch.arange(300)):
        raise Wrong("The images come in their own order: shuffle them with torch.randperm.")
    if all((batch[:, 0, 0, 0].diff() == 1).all() for batch in batches):
        raise Wrong("Only the order of the batches is random; the images within them must be mixed too.")
    if torch.equal(*orders):
        raise Wrong("Two epochs have the same order: draw the permutation anew at each call, without a fixed seed.")


@exercise("3.1")
def mlp_parameters(answer: Callable) -> None:
    """answer(widths) -> the number of parameters of an MLP whose layers have these widths."""
    for widths in ([100, 256, 512, 1024, 784], [2, 3], [784, 1024, 512, 256, 1]):
        pairs = list(itertools.pairwise(widths))
        weights = sum(a * b for a, b in pairs)
        out, right = answer(list(widths)), weights + sum(widths[1:])
        for wrong, reason in (
            (weights, "The biases are missing: each layer has one for every output."),
            (weights + len(pairs), "A layer has one bias for every output, not one in all."),
            (weights + sum(widths[:-1]), "Biases belong to the outputs of a layer, not to its inputs."),
            (weights + sum(widths), "The input has no bias: only the outputs of a layer have one."),
            (right - (widths[-2] + 1) * widths[-1], "The last layer is missing: n widths make n - 1 layers."),
        ):
            if out == wrong != right:
                raise Wrong(f"{reason} For widths {widths} you counted {out:,}.")
        if out != right:
            raise Wrong(f"For widths {widths} you counted {out!r}; nn.Linear layers of these widths have {right:,}.")


@exercise("3.2")
def dropout(answer: Callable) -> None:
    """answer(x (N, units), p) -> x with each value dropped with probability p, the others divided by 1 - p."""
    x, p = torch.full((200, 500), 2.0), 0.3  # 100,000 values: the share kept is 0.7 within 0.0015
    given = x.clone()
    first, second = (_tensor(answer(given, p), x.shape, x.dtype) for _ in range(2))
    if not torch.equal(given, x):
        raise Wrong("Your function changes its input: multiply it by a mask, and return the product.")
    kept = first != 0
    share = kept.float().mean().item()
    if (kept == kept[0]).all():
        raise Wrong("Every row has the same mask: draw one random number for each value of x, torch.rand(x.shape).")
    if (kept == kept[:, :1]).all():
        raise Wrong("Whole rows are dropped: draw one random number for each value of x, torch.rand(x.shape).")
    if abs(share - p) < 0.01:
        raise Wrong(f"With p = 0.3 you keep {share:.3f} of the values: p is the share to drop, so keep 0.7.")
    if abs(share - (1 - p)) >= 0.01:
        raise Wrong(f"With p = 0.3 you keep {share:.3f} of the values; expected about 0.7.")
    scale = first[kept].mean().item() / 2
    if abs(scale - 1) < 1e-4:
        raise Wrong("The values kept are not scaled: divide by 1 - p, so that the mean stays the same.")
    if abs(scale - 1 / (1 - p)) >= 1e-4:
        raise Wrong(f"The values kept are multiplied by {scale:.4f}; expected 1 / (1 - p) = {1 / (1 - p):.4f}.")
    if torch.equal(first, second):
        raise Wrong("Two calls drop the same values: do not fix a seed inside the function.")
    if not torch.equal(answer(given, 0.0), x):
        raise Wrong("With p = 0 nothing is dropped: the result must be x.")


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
    for wrong, reason in (
        (saturating, "This is the gradient of the saturating loss, log(1 - D(G(z)))."),
        (-saturating, "This is the gradient of D's loss: G wants the label 1 for its images."),
        (-right, "The sign is wrong: the loss is -log D(G(z)), and G makes it smaller."),
        (2 * right, "This is the sum over the batch; the loss is the mean."),
    ):
        if abs(out.item() - wrong) < 1e-5:
            raise Wrong(reason)
    if abs(out.item() - right) > 1e-5:
        raise Wrong(f"The gradient is {out.item():.4f}; expected {right:.4f}.")
    if any(needed):
        raise Wrong("D was not frozen while it judged the fakes, so the graph has its parameters: freeze it before.")
    if not discriminator[0].weight.requires_grad:
        raise Wrong("D stays frozen: its own next step would learn nothing. Restore requires_grad.")


@exercise("5.1")
def generator_step_loss(answer: Callable) -> None:
    """answer(probabilities (N, 1)) -> the non-saturating loss -E[log D(G(z))], a scalar tensor."""
    probabilities = torch.tensor([[0.5], [0.1], [0.8]], requires_grad=True)
    logs, complement = probabilities.log(), (1 - probabilities).log()
    out = answer(probabilities)
    if not isinstance(out, torch.Tensor) or out.numel() != 1:
        raise Wrong("Return one number as a tensor, the mean over the batch.")
    for wrong, reason in (
        (logs.mean(), "The sign is wrong: an optimiser makes its loss smaller, so G would make D(G(z)) smaller."),
        (complement.mean(), "This is the saturating loss, log(1 - D(G(z))); the report's code trains the other one."),
        (-complement.mean(), "This is D's loss on fakes, label 0; G wants the label 1 for them."),
        (-logs.sum(), "This is the sum over the batch; take the mean, or the step grows with the batch."),
        (-logs.mean() / math.log(2), "This is in bits (log to base 2); use the natural logarithm: at D = 1/2, ln 2."),
        (-logs.mean() / math.log(10), "This is to base 10; use the natural logarithm: at D = 1/2 the loss is ln 2."),
    ):
        if torch.isclose(out.float(), wrong, atol=1e-5):
            raise Wrong(reason)
    if not torch.isclose(out.float(), -logs.mean(), atol=1e-5):
        raise Wrong(f"For D(G(z)) = 0.5, 0.1, 0.8 the loss is {out.item():.4f}; expected {-logs.mean().item():.4f}.")
    if not out.requires_grad:
        raise Wrong("The value is right but carries no gradient: no .item(), .detach() or torch.tensor(...) inside.")


@exercise("5.2")
def slerp(answer: Callable) -> None:
    """answer(a (D,), b (D,), t) -> the point at t on the arc of the sphere from a to b."""
    a, b = torch.zeros(100), torch.zeros(100)
    a[0], b[1] = 10.0, 10.0
    start, middle, third = answer(a, b, 0.0), answer(a, b, 0.5), answer(a, b, 1 / 3)
    _tensor(start, a.shape, a.dtype)
    if torch.allclose(start, b, atol=1e-3):
        raise Wrong("At t = 0 it is b; the walk must start at a: exchange the two weights.")
    if torch.allclose(middle, (a + b) / 2, atol=1e-3):
        raise Wrong("This is the straight line: in the middle the norm falls from 10 to 7.07. Use the two sines.")
    if not torch.allclose(start, a, atol=1e-3):
        raise Wrong(f"At t = 0 it must be a, of norm 10, but the norm there is {start.norm():.2f}.")
    if torch.allclose(third, torch.nn.functional.normalize(2 * a / 3 + b / 3, dim=0) * 10, atol=1e-3):
        raise Wrong("This is the straight line pushed back to the sphere: its steps are not equal. Use the two sines.")
    right = a * math.cos(math.pi / 6) + b * math.sin(math.pi / 6)  # a third of a right angle
    if not torch.allclose(third, right, atol=1e-3):
        raise Wrong(
            f"Between perpendicular a and b of norm 10, at t = 1/3, it is {third[0]:.2f} a/10 + {third[1]:.2f} b/10; "
            f"expected {right[0]:.2f} and {right[1]:.2f}. Is theta the angle in radians, from the cosine of a and b?"
        )
    far = torch.zeros(100)
    far[0], far[1] = 5.0, 5 * math.sqrt(3)  # 60 degrees from a
    halfway = torch.tensor([math.cos(math.pi / 6), math.sin(math.pi / 6)]) * 10
    if not torch.allclose(answer(a, far, 0.5)[:2], halfway, atol=1e-3):
        raise Wrong("It is right for perpendicular a and b only: the angle must be computed from them.")


@exercise("5.3")
def epoch_mean(answer: Callable) -> None:
    """answer(losses, sizes) -> the mean in which each image counts once."""
    losses, sizes = [1.0, 3.0, 8.0], [128, 128, 64]
    out = _number(answer(losses, sizes))
    for wrong, reason in (
        (8.0, "This is the last batch alone, the report's way; an epoch has all its batches."),
        (4.0, "Every batch counts the same here, but the last one has half as many images: weight by size."),
        (1024 / 3, "You divide by the number of batches; divide by the number of images."),
        (1024.0, "This is the sum over the images; divide by how many there are."),
    ):
        if abs(out - wrong) < 1e-3:
            raise Wrong(reason)
    if abs(out - 3.2) > 1e-6:
        raise Wrong(f"Losses 1, 3, 8 of batches of 128, 128, 64 have mean {out:.3f}; expected 3.2.")


@exercise("6.1")
def transposed_size(answer: Callable) -> None:
    """answer(size, kernel, stride, padding) -> the height that nn.ConvTranspose2d makes of `size`."""
    for size, kernel, stride, padding in ((7, 4, 2, 1), (14, 4, 2, 1), (1, 7, 1, 0), (5, 3, 2, 0), (4, 5, 3, 2)):
        out, right = answer(size, kernel, stride, padding), (size - 1) * stride - 2 * padding + kernel
        if out == right and isinstance(out, int):
            continue
        case = f"For size {size}, kernel {kernel}, stride {stride}, padding {padding} it is {out}; expected {right}."
        for wrong, reason in (
            (right, "The value is right but not an int: no `/`."),
            ((size + 2 * padding - kernel) // stride + 1, "This is the rule of Conv2d, which makes images smaller."),
            (size * stride - 2 * padding + kernel, "Between `size` stamps there are size - 1 strides."),
            ((size - 1) * stride + 2 * padding + kernel, "Padding cuts off here: subtract it."),
            ((size - 1) * stride - padding + kernel, "Padding is cut off at both sides: twice."),
            (size * stride, "True for kernel 4, stride 2, padding 1, but not in general."),
        ):
            if out == wrong:
                raise Wrong(f"{case} {reason}")
        raise Wrong(case)


@exercise("6.2")
def sample_quietly(answer: Callable) -> None:
    """answer(generator, z) -> its images in eval mode, without a gradient, the generator being left as it was."""
    generator = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4)).train()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(3):
            generator(torch.randn(8, 4) + 1)  # running statistics that are not those of a new batch
        z = torch.randn(6, 4)
    before = {key: value.clone() for key, value in generator.state_dict().items()}
    for training in (True, False):
        generator.train(training)
        out = answer(generator, z)
        _tensor(out, torch.Size([6, 4]), torch.float32)
        if any(not torch.equal(before[key], value) for key, value in generator.state_dict().items()):
            raise Wrong("Sampling changed the running statistics of batch norm: call generator.eval() before.")
        if out.requires_grad:
            raise Wrong("The images carry a graph, which costs memory: sample under torch.no_grad().")
        if generator.training != training:
            found, wanted = ("train", "eval") if generator.training else ("eval", "train")
            raise Wrong(f"The generator was in {wanted} mode and is in {found} mode now: restore the mode it had.")
        with torch.no_grad():
            right = generator.eval()(z)
        if not torch.allclose(out, right, atol=1e-6):
            raise Wrong("These are not the images of eval mode: batch norm must use its running statistics.")


@exercise("6.3")
def class_kl(answer: Callable) -> None:
    """answer(counts (10,)) -> the KL divergence of their shares from even ones, in nats."""
    for counts in ([5, 10, 15, 20, 10, 10, 10, 10, 5, 5], [0, 30, 0, 0, 10, 0, 0, 0, 0, 0], [7] * 10, [0] * 9 + [12]):
        counts = torch.tensor(counts)
        out, shares = _number(answer(counts.clone())), counts.double() / counts.sum()
        right = float(torch.special.xlogy(shares, shares * 10).sum())
        if math.isnan(out):
            raise Wrong("A digit that never comes makes it NaN: 0 ln 0 counts as 0, so leave such digits out.")
        for wrong, reason in (
            (right / math.log(2), "This is in bits (log to base 2); use the natural logarithm."),
            (float((0.1 * (0.1 / shares).log()).sum()), "The other way round: weight each logarithm by p, not by 0.1."),
            (math.log(10) - right, "This is the entropy; it is ln 10 minus the divergence."),
            (-right, "The sign is wrong: p stands above, 0.1 beneath."),
            (float(torch.special.xlogy(counts.double(), counts * 10.0).sum()), "Shares sum to 1: divide by the sum."),
            (right / 10, "Sum over the digits; the mean is a tenth of it."),
        ):
            if math.isclose(out, wrong, rel_tol=1e-4, abs_tol=1e-6) and not math.isclose(wrong, right, abs_tol=1e-6):
                raise Wrong(reason)
        if not math.isclose(out, right, rel_tol=1e-4, abs_tol=1e-5):
            raise Wrong(f"For the counts {counts.tolist()} it is {out:.4f}; expected {right:.4f}.")


@exercise("7.1")
def average_step(answer: Callable) -> None:
    """answer(average, network, decay): average <- decay * average + (1 - decay) * network in place, with buffers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        average, network = (torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)) for _ in range(2))
        for _ in range(3):
            network(torch.randn(16, 3) + 1)
    for decay in (0.9, 0.5):
        before, there = ({k: v.clone() for k, v in net.state_dict().items()} for net in (average, network))
        try:
            answer(average, network, decay)
        except RuntimeError as error:
            if "requires grad" in str(error):
                raise Wrong("A weight cannot change in place while gradients are recorded: torch.no_grad().") from None
            if "Long" in str(error) or "long" in str(error) or "dtype" in str(error):
                raise Wrong("num_batches_tracked is a whole number, which has no such mean: copy it.") from None
            raise
        after = average.state_dict()
        if any(not torch.equal(value, there[key]) for key, value in network.state_dict().items()):
            raise Wrong("The network has changed: only the average must.")
        if all(torch.equal(after[key], value) for key, value in before.items()):
            raise Wrong("The average has not changed: write into its tensors, by copy_ or lerp_.")
        for key, a in before.items():
            out, b = after[key].detach(), there[key]
            if key.endswith("num_batches_tracked") or torch.allclose(out, decay * a + (1 - decay) * b, atol=1e-6):
                continue  # the first counts batches; nothing is computed from it here
            if (buffer := "running" in key) and torch.allclose(out, b):
                continue  # the newest statistics in place of their mean: many programs do this
            if buffer and torch.equal(out, a):
                raise Wrong(f"{key} was forgotten: buffers are in state_dict(), not in parameters().")
            if torch.allclose(out, (1 - decay) * a + decay * b, atol=1e-6):
                raise Wrong("decay and 1 - decay are exchanged: with 0.9 the average keeps nine tenths of itself.")
            if torch.equal(out, a):
                raise Wrong(f"{key} was forgotten: every tensor of state_dict() takes part.")
            if torch.allclose(out, b):
                raise Wrong(f"{key} is a copy of the network's: the old average must count too.")
            raise Wrong(f"{key} is not decay * average + (1 - decay) * network, with decay = {decay}.")


@exercise("7.2")
def best_smoothed(answer: Callable) -> None:
    """answer(p_data (N,), p_g (N,), a, b) -> D*(x) (N,) for the label a on real samples and b on fakes."""
    p_data, p_g = torch.tensor([0.5, 0.3, 0.0, 0.8]), torch.tensor([0.5, 0.1, 0.4, 0.0])
    total = p_data + p_g
    for a, b in ((0.9, 0.0), (0.9, 0.2), (1.0, 0.0)):
        out, right = _tensor(answer(p_data, p_g, a, b), total.shape, total.dtype), (a * p_data + b * p_g) / total
        for wrong, reason in (
            (p_data / total, "That is the best D for the labels 1 and 0: the labels do not enter."),
            (a * p_data / total, "The label b of the fakes is missing: they pull D to b, with weight p_g."),
            ((b * p_data + a * p_g) / total, "The labels are exchanged: a belongs to p_data."),
            (1 - right, "That is the probability that x is fake."),
            (a * p_data / (a * p_data + (1 - b) * p_g), "Real samples have two terms, a log D + (1 - a) log(1 - D)."),
            (a * p_data + b * p_g, "Densities need not sum to 1 at a point: divide by p_data + p_g."),
        ):
            if torch.allclose(out, wrong, atol=1e-4) and not torch.allclose(wrong, right, atol=1e-4):
                raise Wrong(reason)
        if not torch.allclose(out, right, atol=1e-4):
            raise Wrong(f"At equal densities, with a = {a}, b = {b}, your D is {out[0]:.3f}; expected {right[0]:.3f}.")


@exercise("7.3")
def conditioning(join_noise: Callable, join_images: Callable) -> None:
    """join_noise(z (N, 100), labels) -> (N, 110); join_images(x (N, 1, 28, 28), labels) -> (N, 11, 28, 28)."""
    labels = torch.tensor([7, 0, 3, 3, 9])
    z, x = torch.randn(5, 100), torch.rand(5, 1, 28, 28) * 2 - 1
    given_z, given_x = z.clone(), x.clone().requires_grad_()
    out = join_noise(given_z, labels.clone())
    if not isinstance(out, torch.Tensor) or out.shape != (5, 110):
        found = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
        number = " The label is no quantity, 7 is not more than 3: one-hot, ten numbers." if found == (5, 101) else ""
        raise Wrong(f"join_noise returned {found}; expected (5, 110).{number}")
    _says(next((part for part in (out[:, 100:], out[:, :10]) if _rest(out, part, z)), None), labels, "join_noise", "z")
    out = join_images(given_x, labels.clone())
    if not isinstance(out, torch.Tensor) or out.shape != (5, 11, 28, 28):
        found = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
        number = " One channel for each digit: a label is no quantity." if found == (5, 2, 28, 28) else ""
        raise Wrong(f"join_images returned {found}; expected (5, 11, 28, 28).{number}")
    if not (torch.equal(given_z, z) and torch.equal(given_x.detach(), x)):
        raise Wrong("An input was changed in place: build a new tensor by torch.cat.")
    channels = next((part for part in (out[:, 1:], out[:, :10]) if _rest(out, part, x)), None)
    if channels is not None and (channels != channels[:, :, :1, :1]).any():
        raise Wrong("The channels of the label differ from pixel to pixel: D must know it everywhere, so fill them.")
    _says(None if channels is None else channels[:, :, 0, 0], labels, "join_images", "x")
    if not out.requires_grad:
        raise Wrong("No gradient reaches x any more, so G would learn nothing: no .detach(), .data or no_grad here.")


def _rest(out: torch.Tensor, part: torch.Tensor, given: torch.Tensor) -> bool:
    """Whether `out` is `part`, at its start or end, and `given`."""
    first = part.data_ptr() == out.data_ptr()
    return torch.equal((out[:, part.shape[1] :] if first else out[:, : -part.shape[1]]).detach(), given)


def _says(code: torch.Tensor | None, labels: torch.Tensor, name: str, what: str) -> None:
    """Raise Wrong if `code` (N, 10) does not say each of the labels, by one value that is above nine equal ones."""
    if code is None:
        raise Wrong(f"{name} must hold {what} unchanged, before or after the label.")
    code, (low, high) = code.detach().float(), code.detach().float().aminmax()
    if low == high:
        raise Wrong(f"{name} says the same for every label: mark the place of the label.")
    if (code[:1] == code).all():
        raise Wrong(f"{name} gives every sample the label of the first: each has its own.")
    if torch.equal(code, low + (high - low) * torch.nn.functional.one_hot(9 - labels, 10).float()):
        raise Wrong(f"{name} counts the places from the end: digit 0 is the first.")
    if not torch.equal(code, torch.where(torch.nn.functional.one_hot(labels, 10).bool(), high, low)):
        raise Wrong(f"{name} does not hold a one-hot label: ten numbers, one of them high, at the label's place.")


def _tensor(out, shape: torch.Size, dtype: torch.dtype) -> torch.Tensor:
    """An answer that must be a tensor of this shape and type."""
    if not isinstance(out, torch.Tensor):
        raise Wrong(f"Your function returned a {type(out).__name__}; it must return a tensor.")
    if out.shape != shape:
        raise Wrong(f"The shape is {tuple(out.shape)}; expected {tuple(shape)}, the shape of the input.")
    if out.dtype != dtype:
        raise Wrong(f"The type is {out.dtype}; expected {dtype}.")
    return out


def _number(out) -> float:
    """An answer that must be one number."""
    try:
        return float(out)
    except (TypeError, ValueError):
        raise Wrong(f"Your function returned {out!r}; return one number.") from None
