"""Each check accepts different right answers, and rejects every wrong answer it is meant for with its own sentence."""

import copy
import itertools
import math

import pytest
import torch

from labutils import checks
from labutils.graphs import functions
from labutils.losses import bce
from labutils.models import Dropout, build, sample
from labutils.training import update_average

CASES = {}  # check -> (number, right answers, wrong ones with their sentences)


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


CASES["leaves"] = (
    "4.1",
    [leaves_by_loop, leaves_by_recursion, leaves_by_functions],
    [
        (without_skipping_none, "skip it"),
        (lambda tensor: None, "returned a NoneType"),
        (lambda tensor: set(functions(tensor)), "`function.variable`"),
        (lambda tensor: {f for f in functions(tensor) if hasattr(f, "variable")}, "`function.variable`"),
        (leaves_many_times, "gather them in a set"),
        (first_level_only, "every function you meet"),
        (lambda tensor: leaves_by_loop(tensor) | {torch.ones(2)}, "you found 3 tensors"),
        (lambda tensor: set(), "you found 0 tensors"),
        (lambda tensor: {f.variable for f in functions(tensor) if hasattr(f, "variable")}, "raised ValueError"),
        (lambda tensor: leaves_by_loop(tensor) if tensor.grad_fn.next_functions else None, "return an empty set"),
        (lambda tensor: leaves_by_loop(tensor) or {tensor}, "the set must be empty"),
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


def test_receive_accepts_what_happens(capsys):
    measured = {step: gradients_after(step) for step in checks.RECEIVE}
    assert checks.receive(measured)
    assert checks.receive({step: list(pair) for step, pair in measured.items()})
    assert capsys.readouterr().out == 2 * "Exercise 4.2: correct.\n"


@pytest.mark.parametrize("step", list(checks.RECEIVE))
@pytest.mark.parametrize("wrong", [(0, 0), (16, 0), ("8", "8")])
def test_receive_rejects_each_wrong_row_with_its_hint(step, wrong, capsys):
    measured = {key: gradients_after(key) for key in checks.RECEIVE}
    assert not checks.receive(measured | {step: wrong})
    said = capsys.readouterr().out
    assert f"{step}: it is not {wrong}" in said
    assert checks.RECEIVE[step][1] in said


def test_receive_waits_and_names_the_steps(capsys):
    assert not checks.receive(dict.fromkeys(checks.RECEIVE, (None, None)))
    assert not checks.receive({"D step": (0, 8)})
    first, second = capsys.readouterr().out.splitlines()
    assert first == "Exercise 4.2: not attempted yet."
    assert "Keep the five steps" in second


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


CASES["frozen"] = (
    "4.3",
    [frozen_step(), frozen_by_autograd],
    [
        (frozen_step(detach=True), "must not be detached"),
        (frozen_step(detach=True, freeze="never"), "No gradient reached G: call backward()"),
        (frozen_step(call=None), "No gradient reached G: call backward()"),
        (frozen_step(lambda d: (1 - d).log().mean()), "saturating"),
        (frozen_step(lambda d: -(1 - d).log().mean()), "D's loss"),
        (frozen_step(lambda d: d.log().mean()), "sign is wrong"),
        (frozen_step(lambda d: -d.log().sum()), "sum over the batch"),
        (frozen_step(lambda d: d.mean()), "The gradient is"),
        (frozen_step(freeze="never"), "not frozen while it judged"),
        (frozen_step(freeze="after"), "not frozen while it judged"),
        (frozen_step(restore=False), "D stays frozen"),
        (lambda generator, discriminator, z: generator(z[0, 0]), "raised"),
        (lambda generator, discriminator, z: None, "returned None; return a list"),
    ],
)


def gaussian(x, mean, deviation):
    return torch.exp(torch.distributions.Normal(mean, deviation).log_prob(x))


def best(fake=lambda x: gaussian(x, 1.0, 2.0), combine=lambda real, fake: real / (real + fake)):
    """An answer to exercise 1.1; the defaults give a right one."""
    return lambda x: combine(gaussian(x, 0.0, 1.0), fake(x))


CASES["best_discriminator"] = (
    "1.1",
    [best(), lambda x: torch.sigmoid(math.log(2) + (x - 1) ** 2 / 8 - x**2 / 2)],
    [
        (best(combine=lambda real, fake: fake / (real + fake)), "the numerator is p_data"),
        (best(combine=lambda real, fake: real / fake), "divide by p_data + p_g"),
        (best(lambda x: 2 * gaussian(x, 1.0, 2.0)), "1 / deviation"),
        (best(lambda x: gaussian(x, 1.0, 4.0)), "4 is its variance"),
        (best(lambda x: gaussian(x, -1.0, 2.0)), "is 1, not -1"),
        (lambda x: torch.full_like(x, 0.5), "At x = 0 your D is 0.5000; expected 0.6938."),
        (lambda x: 0.5, "must return a tensor"),
        (lambda x: x[:, None], "The shape is (41, 1)"),
    ],
)


def gradient_by_autograd(logits):
    logits.requires_grad_()
    return torch.autograd.grad(torch.log(1 - torch.sigmoid(logits)).sum(), logits)[0]


CASES["saturating_gradient"] = (
    "1.2",
    [lambda logits: -torch.sigmoid(logits), gradient_by_autograd],
    [
        (torch.sigmoid, "The sign is wrong"),
        (lambda logits: torch.sigmoid(logits) - 1, "non-saturating"),
        (lambda logits: -1 / (1 - torch.sigmoid(logits)), "with respect to D"),
        (lambda logits: torch.sigmoid(logits) * torch.sigmoid(-logits), "the sigmoid alone"),
        (lambda logits: torch.log(1 - torch.sigmoid(logits)), "the loss itself"),
        (lambda logits: -torch.sigmoid(logits) / len(logits), "divided by the number"),
        (torch.zeros_like, "you return 0.0000 and 0.0000"),
        (lambda logits: -0.5, "must return a tensor"),
    ],
)


def dirac_step(
    order="D G", g_slope=lambda fooled: fooled - 1, d_sign=1, g_sign=-1, give=lambda theta, psi: (theta, psi)
):
    """An answer to exercise 1.3; the defaults give a right one."""

    def answer(theta, psi, h):
        old = psi
        for player in order.split():
            if player == "D":
                psi += d_sign * h * -theta / (1 + math.exp(-psi * theta))
            else:
                seen = old if player == "G_simultaneous" else psi
                theta += g_sign * h * seen * g_slope(1 / (1 + math.exp(-seen * theta)))
        return give(theta, psi)

    return answer


def dirac_by_autograd(theta, psi, h):
    theta, psi = (torch.tensor(t, dtype=torch.float64, requires_grad=True) for t in (theta, psi))
    psi = psi + h * torch.autograd.grad(torch.log(1 - torch.sigmoid(psi * theta)), psi)[0]
    return theta + h * torch.autograd.grad(torch.log(torch.sigmoid(psi * theta)), theta)[0], psi


CASES["nonsaturating_step"] = (
    "1.3",
    [dirac_step(), dirac_by_autograd, dirac_step(give=lambda *both: list(both))],
    [
        (dirac_step(give=lambda theta, psi: (psi, theta)), "The order is (theta, psi)"),
        (dirac_step("D G_simultaneous"), "G must see the new psi"),
        (dirac_step("G D"), "G moved first"),
        (dirac_step(g_slope=lambda fooled: -fooled), "saturating loss"),
        (dirac_step(g_sign=1), "G went uphill"),
        (dirac_step(d_sign=-1), "D went downhill"),
        (dirac_step("D"), "you reach (1.5000, 0.5694)"),
        (dirac_step(give=lambda theta, psi: theta), "return the two numbers"),
    ],
)


def label_loss(label, reduction="mean"):
    return lambda p: torch.nn.functional.binary_cross_entropy(p, torch.full_like(p, label), reduction=reduction)


CASES["generator_step_loss"] = (
    "5.1",
    [
        label_loss(1.0),
        lambda p: -torch.log(p).mean(),
        lambda p: bce(torch.logit(p), 1),
        lambda p: -p.double().log().mean(),
    ],
    [
        (lambda p: p.log().mean(), "sign is wrong"),
        (lambda p: (1 - p).log().mean(), "saturating loss"),
        (label_loss(0.0), "label 0"),
        (label_loss(1.0, "sum"), "sum over the batch"),
        (lambda p: -p.log2().mean(), "in bits"),
        (lambda p: -p.log10().mean(), "base 10"),
        (label_loss(1.0, "none"), "Return one number"),
        (lambda p: -p.log().mean().item(), "Return one number"),
        (lambda p: -p.detach().log().mean(), "carries no gradient"),
        (lambda p: p.mean(), "the loss is 0.4667"),
    ],
)


def arc(angle=lambda a, b: torch.acos(a @ b / (a.norm() * b.norm())), swap=False, scale=1.0):
    """An answer to exercise 5.2; the defaults give a right one."""

    def answer(a, b, t):
        theta, t = angle(a, b), 1 - t if swap else t
        return scale * (torch.sin((1 - t) * theta) * a + torch.sin(t * theta) * b) / torch.sin(theta)

    return answer


def arc_by_rotation(a, b, t):
    """Gram-Schmidt: the part of b that is perpendicular to a, and a rotation by t times the angle."""
    e, f = a / a.norm(), b / b.norm()
    side = f - (e @ f) * e
    theta = torch.atan2(side.norm(), e @ f)
    return a.norm() * (torch.cos(t * theta) * e + torch.sin(t * theta) * side / side.norm())


CASES["slerp"] = (
    "5.2",
    [arc(), arc_by_rotation],
    [
        (lambda a, b, t: (1 - t) * a + t * b, "straight line: in the middle"),
        (arc(swap=True), "exchange the two weights"),
        (arc(scale=0.1), "the norm there is 1.00"),
        (lambda a, b, t: 10 * torch.nn.functional.normalize((1 - t) * a + t * b, dim=0), "pushed back"),
        (arc(lambda a, b: torch.acos(a @ b / (a.norm() * b.norm())).rad2deg()), "in radians"),
        (arc(lambda a, b: torch.tensor(math.pi / 2)), "perpendicular a and b only"),
        (lambda a, b, t: 0.0, "must return a tensor"),
    ],
)


CASES["epoch_mean"] = (
    "5.3",
    [
        lambda losses, sizes: sum(x * n for x, n in zip(losses, sizes, strict=True)) / sum(sizes),
        lambda losses, sizes: torch.tensor(losses).repeat_interleave(torch.tensor(sizes)).double().mean(),
    ],
    [
        (lambda losses, sizes: losses[-1], "last batch alone"),
        (lambda losses, sizes: sum(losses) / len(losses), "weight by size"),
        (
            lambda losses, sizes: sum(x * n for x, n in zip(losses, sizes, strict=True)) / len(sizes),
            "number of batches",
        ),
        (lambda losses, sizes: sum(x * n for x, n in zip(losses, sizes, strict=True)), "sum over the images"),
        (lambda losses, sizes: 0, "have mean 0.000"),
        (lambda losses, sizes: None, "returned None; return one number"),
    ],
)


def size_by_module(size, kernel, stride, padding):
    layer = torch.nn.ConvTranspose2d(1, 1, kernel, stride, padding, device="meta")
    return layer(torch.empty(1, 1, size, size, device="meta")).shape[-1]


CASES["transposed_size"] = (
    "6.1",
    [size_by_module, lambda n, k, s, p: (n - 1) * s - 2 * p + k],
    [
        (lambda n, k, s, p: (n + 2 * p - k) // s + 1, "rule of Conv2d"),
        (lambda n, k, s, p: n * s - 2 * p + k, "size - 1 strides"),
        (lambda n, k, s, p: (n - 1) * s + 2 * p + k, "subtract it"),
        (lambda n, k, s, p: (n - 1) * s - p + k, "twice"),
        (lambda n, k, s, p: n * s, "not in general"),
        (lambda n, k, s, p: float((n - 1) * s - 2 * p + k), "not an int"),
        (lambda n, k, s, p: 0, "it is 0; expected 14"),
    ],
)


def quietly_by_hand(generator, z):
    training = generator.training
    generator.eval()
    with torch.no_grad():
        out = generator(z)
    return generator.train(training) and out


def quietly(evaluate=True, no_grad=True, restore=True):
    """A wrong answer to exercise 6.2, for each argument that is False."""

    def answer(generator, z):
        training = generator.training
        generator.train(not evaluate)
        with torch.set_grad_enabled(not no_grad):
            out = generator(z)
        generator.train(training if restore else not evaluate)
        return out

    return answer


def in_train_mode_but_restored(generator, z):
    state, training = copy.deepcopy(generator.state_dict()), generator.training
    with torch.no_grad():
        out = generator.train()(z)
    generator.load_state_dict(state)
    generator.train(training)
    return out


CASES["sample_quietly"] = (
    "6.2",
    [sample, quietly_by_hand],
    [
        (quietly(evaluate=False), "changed the running statistics"),
        (quietly(no_grad=False), "carry a graph"),
        (quietly(restore=False), "was in train mode and is in eval mode now"),
        (lambda generator, z: (sample(generator, z), generator.train())[0], "was in eval mode and is in train"),
        (in_train_mode_but_restored, "not the images of eval mode"),
    ],
)


def kl_by_torch(counts):
    shares = counts.double() / counts.sum()
    return torch.special.xlogy(shares, shares * 10).sum()


def kl_by_hand(counts):
    counts = counts.tolist()
    shares = [count / sum(counts) for count in counts if count]
    return sum(p * math.log(10 * p) for p in shares)


CASES["class_kl"] = (
    "6.3",
    [kl_by_torch, kl_by_hand],
    [
        (lambda counts: (counts / counts.sum() * (counts / counts.sum() * 10).log()).sum(), "never comes makes it NaN"),
        (lambda counts: kl_by_hand(counts) / math.log(2), "in bits"),
        (lambda counts: (0.1 * (0.1 * counts.sum() / counts).log()).sum(), "weight each logarithm by p"),
        (lambda counts: math.log(10) - kl_by_hand(counts), "This is the entropy"),
        (lambda counts: -kl_by_hand(counts), "The sign is wrong"),
        (lambda counts: torch.special.xlogy(counts, counts * 10.0).sum(), "divide by the sum"),
        (lambda counts: kl_by_hand(counts) / 10, "the mean is a tenth"),
        (lambda counts: 0.0, "it is 0.0000; expected 0.0955"),
        (lambda counts: None, "returned None; return one number"),
        (lambda counts: 2.302585 - (counts > 0).sum() * 0.2302585, "expected 0.0955"),
    ],
)


def normalised(x):
    return (x.float() / 255 - 0.5) / 0.5


def normalised_in_place(pixels):
    out = normalised(pixels)
    pixels.zero_()
    return out


CASES["normalise"] = (
    "2.1",
    [normalised, lambda x: x.float() / 127.5 - 1, lambda x: 2 * (x / 255) - 1],
    [
        (lambda x: x / 255, "ToTensor alone"),
        (lambda x: x / 255 - 0.5, "divide by 0.5"),
        (lambda x: (x / 255 - 0.1307) / 0.3081, "mean 0 and deviation 1"),
        (lambda x: (x - 128) / 128, "bytes wrap around"),
        (lambda x: (x.float() / 256 - 0.5) / 0.5, "0, 128 and 255 become -1.0000, 0.0000, 0.9922"),
        (lambda x: normalised(x).double(), "expected torch.float32"),
        (lambda x: normalised(x)[:, None], "The shape is (2, 1, 28, 28)"),
        (lambda x: normalised(x).tolist(), "must return a tensor"),
        (normalised_in_place, "changes its input"),
        (lambda x: x.undefined, "raised AttributeError"),
    ],
)


def as_bytes(x, rounded=True, clamped=True):
    values = x.clamp(-1, 1) if clamped else x
    values = (values + 1) * 127.5
    return (values.round() if rounded else values).to(torch.int64).to(torch.uint8)  # int64: wraps on every machine


CASES["to_pixels"] = (
    "2.2",
    [as_bytes, lambda x: ((x * 0.5 + 0.5) * 255 + 0.5).clamp(0, 255).byte(), lambda x: as_bytes(x.double())],
    [
        (lambda x: as_bytes(x, rounded=False), "round first"),
        (lambda x: as_bytes(x, clamped=False), "limit the range with clamp"),
        (lambda x: (x / 2 + 0.5).round().to(torch.uint8), "multiply by 255"),
        (lambda x: (x * 255).clamp(0, 255).round().to(torch.uint8), "do not come back"),
        (lambda x: (x + 1) * 127.5, "expected torch.uint8"),
        (lambda x: as_bytes(x.clamp_(-0.9, 0.9)), "changes its input"),
    ],
)


def batches(draw=torch.randperm, size=lambda n: n, keep_last=True):
    """An answer to exercise 2.3; the defaults give a right one."""

    def answer(images, batch_size):
        order, batch_size = draw(len(images)), size(batch_size)
        for start in range(0, len(order), batch_size):
            batch = images.index_select(0, order[start : start + batch_size])
            if keep_last or len(batch) == batch_size:
                yield batch

    return answer


def batches_of_shuffled_blocks(images, batch_size):
    blocks = list(images.split(batch_size))
    last = blocks.pop()
    yield from reversed(blocks)  # a draw of four blocks would often enough give them in order
    yield last


CASES["epoch"] = (
    "2.3",
    [batches(), lambda images, batch_size: list(images[torch.randperm(len(images))].split(batch_size))],
    [
        (batches(keep_last=False), "the smaller one with 44 of 300 images, is missing"),
        (batches(lambda n: torch.randint(n, (n,))), "come twice"),
        (batches(torch.arange), "in their own order"),
        (batches(lambda n: torch.randperm(n, generator=torch.Generator().manual_seed(0))), "without a fixed seed"),
        (batches(size=lambda n: n // 2), "came as [32, 32,"),
        (batches_of_shuffled_blocks, "Only the order of the batches is random"),
        (lambda images, batch_size: None, "with yield"),
        (lambda images, batch_size: (x.flatten(1) for x in batches()(images, batch_size)), "(N, 1, 28, 28)"),
        (lambda images, batch_size: iter(lambda: images[:batch_size], None), "came as [64, 64,"),
    ],
)


def counted(bias=lambda a, b: b, stop=None):
    """An answer to exercise 3.1; the defaults give a right one."""
    return lambda w: sum(a * b + bias(a, b) for a, b in list(itertools.pairwise(w))[:stop])


def counted_by_building(widths):
    layers = (torch.nn.Linear(a, b) for a, b in itertools.pairwise(widths))
    return sum(p.numel() for layer in layers for p in layer.parameters())


CASES["mlp_parameters"] = (
    "3.1",
    [counted(), counted_by_building],
    [
        (counted(lambda a, b: 0), "The biases are missing"),
        (counted(lambda a, b: 1), "not one in all"),
        (counted(lambda a, b: a), "not to its inputs"),
        (lambda w: counted()(w) + w[0], "The input has no bias"),
        (counted(stop=-1), "The last layer is missing"),
        (lambda w: 1486352, "For widths [2, 3] you counted 1486352"),
    ],
)


def dropped(draw=lambda x: torch.rand(x.shape), keep=lambda u, p: u >= p, scale=lambda p: 1 / (1 - p)):
    """An answer to exercise 3.2; the defaults give a right one."""
    return lambda x, p: x * keep(draw(x), p) * scale(p)


def dropped_in_place(x, p):
    return x.mul_(torch.rand(x.shape) >= p).div(1 - p)


CASES["dropout"] = (
    "3.2",
    [dropped(), torch.nn.functional.dropout, lambda x, p: Dropout(p)(x)],
    [
        (dropped(keep=lambda u, p: u < p), "p is the share to drop"),
        (dropped(keep=lambda u, p: u >= p / 2), "expected about 0.7"),
        (dropped(scale=lambda p: 1), "divide by 1 - p"),
        (dropped(scale=lambda p: 1 - p), "expected 1 / (1 - p) = 1.4286"),
        (dropped(lambda x: torch.rand(x.shape[1])), "Every row has the same mask"),
        (dropped(lambda x: torch.rand(len(x), 1)), "Whole rows are dropped"),
        (dropped(lambda x: torch.rand(x.shape, generator=torch.Generator().manual_seed(0))), "do not fix a seed"),
        (dropped(keep=lambda u, p: u >= max(p, 0.1)), "With p = 0 nothing is dropped"),
        (dropped_in_place, "changes its input"),
        (lambda x, p: dropped()(x, p).tolist(), "must return a tensor"),
    ],
)


def averaged(names=lambda key: True, mean=lambda a, b, decay: decay * a + (1 - decay) * b):
    """An answer to exercise 7.1; the defaults give a right one, in which a whole number is cut off."""

    @torch.no_grad()
    def answer(average, network, decay):
        for (key, a), b in zip(average.state_dict().items(), network.state_dict().values(), strict=True):
            if names(key):
                a.copy_(mean(a, b, decay))

    return answer


def averaged_with_newest_buffers(average, network, decay):
    for a, b in zip(average.parameters(), network.parameters(), strict=True):
        a.data = decay * a.data + (1 - decay) * b.data
    for a, b in zip(average.buffers(), network.buffers(), strict=True):
        a.copy_(b)


def averaged_while_recording(average, network, decay):
    for a, b in zip(average.parameters(), network.parameters(), strict=True):
        a.mul_(decay).add_(b, alpha=1 - decay)


def averaged_the_network(average, network, decay):
    averaged()(network, average, 1 - decay)


CASES["average_step"] = (
    "7.1",
    [averaged(), averaged_with_newest_buffers, update_average],
    [
        (averaged(lambda key: "running" not in key), "1.running_mean was forgotten: buffers are in state_dict()"),
        (averaged(lambda key: "bias" not in key), "0.bias was forgotten: every tensor"),
        (averaged(mean=lambda a, b, decay: (1 - decay) * a + decay * b), "are exchanged"),
        (averaged(mean=lambda a, b, decay: b), "0.weight is a copy of the network's"),
        (averaged(mean=lambda a, b, decay: a + b), "is not decay * average"),
        (averaged(mean=lambda a, b, decay: torch.lerp(a, b, 1 - decay)), "is a whole number"),
        (averaged_while_recording, "torch.no_grad()"),
        (averaged_the_network, "The network has changed"),
        (lambda average, network, decay: copy.deepcopy(network), "The average has not changed"),
    ],
)


def smoothed_by_steps(p_data, p_g, a, b):
    logit = torch.zeros_like(p_data)
    for _ in range(6000):  # downhill on the loss, whose slope is (p_data + p_g) D - a p_data - b p_g
        logit = logit - 5 * ((p_data + p_g) * torch.sigmoid(logit) - a * p_data - b * p_g)
    return torch.sigmoid(logit)


CASES["best_smoothed"] = (
    "7.2",
    [lambda p, q, a, b: (a * p + b * q) / (p + q), smoothed_by_steps],
    [
        (lambda p, q, a, b: p / (p + q), "the labels do not enter"),
        (lambda p, q, a, b: a * p / (p + q), "label b of the fakes is missing"),
        (lambda p, q, a, b: (b * p + a * q) / (p + q), "are exchanged"),
        (lambda p, q, a, b: 1 - (a * p + b * q) / (p + q), "probability that x is fake"),
        (lambda p, q, a, b: a * p / (a * p + (1 - b) * q), "Real samples have two terms"),
        (lambda p, q, a, b: a * p + b * q, "divide by p_data + p_g"),
        (lambda p, q, a, b: torch.full((4,), 0.5), "your D is 0.500; expected 0.450"),
        (lambda p, q, a, b: 0.45, "must return a tensor"),
    ],
)


def one_hot(labels):
    return torch.nn.functional.one_hot(labels, 10).float()


def planes(labels):
    return one_hot(labels)[:, :, None, None].expand(-1, -1, 28, 28)


def noise_joined(code=one_hot):
    return lambda z, labels: torch.cat([z, code(labels)], 1)


def images_joined(code=planes):
    return lambda x, labels: torch.cat([x, code(labels)], 1)


def filled_one_by_one(x, labels):
    out = torch.full((len(x), 11, 28, 28), -1.0)
    for i, label in enumerate(labels):
        out[i, label] = 1
    return torch.cat([out[:, :10], x], 1)


def in_a_corner(labels):
    marked = torch.zeros(len(labels), 10, 28, 28)
    marked[:, :, 0, 0] = one_hot(labels)
    return marked


def in_place(x, labels):
    x.data[:, 0, 0, 0] = 1.0
    return images_joined()(x.detach().requires_grad_(), labels)


@pytest.mark.parametrize(
    ("join_noise", "join_images"),
    [
        (noise_joined(), images_joined()),
        (lambda z, labels: torch.cat([torch.eye(10)[labels] * 2 - 1, z], 1), filled_one_by_one),
        (noise_joined(lambda labels: torch.nn.functional.one_hot(labels, 10)), filled_one_by_one),
    ],
)
def test_conditioning_accepts(join_noise, join_images, capsys):
    assert checks.conditioning(join_noise, join_images)
    assert capsys.readouterr().out == "Exercise 7.3: correct.\n"


@pytest.mark.parametrize(
    ("join_noise", "join_images", "sentence"),
    [
        (noise_joined(lambda labels: labels[:, None].float()), images_joined(), "no quantity, 7 is not more than 3"),
        (lambda z, labels: z, images_joined(), "join_noise returned (5, 100); expected (5, 110)"),
        (lambda z, labels: noise_joined()(z * 0, labels), images_joined(), "must hold z unchanged"),
        (noise_joined(lambda labels: torch.zeros(5, 10)), images_joined(), "the same for every label"),
        (noise_joined(lambda labels: one_hot(labels[:1]).expand(5, -1)), images_joined(), "the label of the first"),
        (noise_joined(lambda labels: one_hot(labels).flip(1)), images_joined(), "from the end"),
        (noise_joined(lambda labels: torch.randn(5, 10)), images_joined(), "join_noise does not hold a one-hot label"),
        (noise_joined(), images_joined(lambda labels: planes(labels)[:, :1]), "One channel for each digit"),
        (noise_joined(), lambda x, labels: x, "join_images returned (5, 1, 28, 28)"),
        (noise_joined(), lambda x, labels: None, "join_images returned NoneType"),
        (noise_joined(), images_joined(in_a_corner), "differ from pixel to pixel"),
        (noise_joined(), images_joined(lambda labels: planes(labels[:1].expand(5))), "the label of the first"),
        (noise_joined(), lambda x, labels: images_joined()(x.detach(), labels), "No gradient reaches x"),
        (noise_joined(), in_place, "changed in place"),
        (noise_joined(), lambda x, labels: images_joined()(x + planes(labels)[:, :1], labels), "hold x unchanged"),
    ],
)
def test_conditioning_rejects(join_noise, join_images, sentence, capsys):
    assert not checks.conditioning(join_noise, join_images)
    assert sentence in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "answer"), [(name, answer) for name, (_, right, _) in CASES.items() for answer in right]
)
def test_a_right_answer_is_accepted(name, answer, capsys):
    assert getattr(checks, name)(answer)
    assert capsys.readouterr().out == f"Exercise {CASES[name][0]}: correct.\n"


@pytest.mark.parametrize(("name", "wrong"), [(name, wrong) for name, (_, _, all_) in CASES.items() for wrong in all_])
def test_a_wrong_answer_gets_its_own_sentence(name, wrong, capsys):
    answer, sentence = wrong
    assert not getattr(checks, name)(answer)
    assert sentence in capsys.readouterr().out
