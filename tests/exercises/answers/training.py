"""Right and wrong answers to the exercises of notebook 05."""

import copy
import math
import statistics

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from labutils.training import update_discriminator, update_generator

CASES = {}  # number -> (right answers, wrong ones with their sentences)
NEAR = {}  # number -> answers that are only nearly right, with their sentences


bce = F.binary_cross_entropy_with_logits


def d_step(
    labels=(1.0, 0.0), loss=bce, detach=True, before=True, after=False, step=True, returns=None, factor=1, **how
):
    """An answer to exercise 5.1; the defaults give a right one."""

    def answer(discriminator, optimizer, real, fake):
        fake = fake.detach() if detach else fake
        seen = [discriminator.logits(real), discriminator.logits(fake)]
        if how.get("joint"):
            seen = discriminator.logits(torch.cat([real, fake])).chunk(2)
        total = factor * sum(loss(out, torch.full_like(out, label)) for out, label in zip(seen, labels, strict=True))
        if before:
            optimizer.zero_grad()
        total.backward()
        if after:
            optimizer.zero_grad()
        if step:
            optimizer.step()
        outs = total.detach(), *(out.detach() for out in seen)
        return returns(*outs) if returns else outs

    return answer


def two_backward_passes(discriminator, optimizer, real, fake):
    """Each term by itself: the gradients add up."""
    optimizer.zero_grad()
    fake_logits = discriminator.logits(fake.detach())  # in the other order, too
    of_fake = F.softplus(fake_logits).mean()
    of_fake.backward()
    real_logits = discriminator.logits(real)
    of_real = F.softplus(-real_logits).mean()
    of_real.backward()
    optimizer.step()
    return [of_real.detach() + of_fake.detach(), real_logits.detach(), fake_logits.detach()]


def by_autograd(discriminator, optimizer, real, fake):
    a, b = discriminator.logits(real), discriminator.logits(fake.detach())
    loss = -F.logsigmoid(a).mean() - F.logsigmoid(-b).mean()
    parameters = list(discriminator.parameters())
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.grad = gradient
    optimizer.step()
    return loss.detach(), a.detach(), b.detach()


def in_eval_mode(step):
    def answer(discriminator, optimizer, *images):
        discriminator.eval()
        out = step(discriminator, optimizer, *images)
        discriminator.train()
        return out

    return answer


def left_in_eval_mode(discriminator, optimizer, real, fake):
    discriminator.eval()
    return d_step()(discriminator, optimizer, real, fake)


def in_place(discriminator, optimizer, real, fake):
    real.clamp_(-1, 1)
    return d_step()(discriminator, optimizer, real, fake)


def own_optimizer(discriminator, optimizer, *images):
    """A new one in each step: its moments begin anew."""
    return d_step()(discriminator, torch.optim.SGD(discriminator.parameters(), 0.1, 0.9), *images)


def of_probabilities(out, labels, **how):
    return F.binary_cross_entropy(torch.sigmoid(out), labels, **how)


def summed(out, labels):
    return bce(out, labels, reduction="sum")


def of_a_fresh_tensor(out, labels):
    return torch.tensor(bce(out, labels).item(), requires_grad=True)


def nan_loss(discriminator, optimizer, real, fake):
    _, *logits = d_step()(discriminator, optimizer, real, fake)
    return torch.tensor(math.nan), *logits


def by_closure(discriminator, optimizer, real, fake):
    """As optimisers that need several losses a step are called."""
    outs = []

    def closure():
        optimizer.zero_grad()
        a, b = discriminator.logits(real), discriminator.logits(fake.data)
        loss = F.softplus(-a).mean() + F.softplus(b).mean()
        loss.backward()
        outs.extend(out.detach() for out in (loss, a, b))
        return loss

    optimizer.step(closure)
    return outs


def step_before_backward(discriminator, optimizer, *images):
    logits = [discriminator.logits(image.detach() if len(images) == 2 else image) for image in images]
    loss = bce(logits[-1], torch.full_like(logits[-1], 2.0 - len(images)))
    loss = loss + bce(logits[0], torch.ones_like(logits[0])) if len(images) == 2 else loss
    optimizer.zero_grad()
    optimizer.step()
    loss.backward()
    return (loss.detach(), *(out.detach() for out in logits)) if len(images) == 2 else loss.detach()


def logits_after_the_step(discriminator, optimizer, real, fake):
    loss, _, _ = d_step()(discriminator, optimizer, real, fake)
    with torch.no_grad():
        return loss, discriminator.logits(real), discriminator.logits(fake)


def log_with_a_little_more(out, labels):
    return -(torch.where(labels == 1, out.sigmoid(), 1 - out.sigmoid()) + 1e-8).log().mean()


def fakes_judged_without_graph(discriminator, optimizer, real, fake):
    real_logits = discriminator.logits(real)
    with torch.no_grad():
        fake_logits = discriminator.logits(fake)
    loss = bce(real_logits, torch.ones_like(real_logits)) + bce(fake_logits, torch.zeros_like(fake_logits))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach(), real_logits.detach(), fake_logits


def zeroed_between(discriminator, optimizer, real, fake):
    losses, logits = [], [discriminator.logits(real), discriminator.logits(fake.detach())]
    for out, label in zip(logits, (1.0, 0.0), strict=True):
        optimizer.zero_grad()
        losses.append(bce(out, torch.full_like(out, label)))
        losses[-1].backward()
    optimizer.step()
    return sum(losses).detach(), *(out.detach() for out in logits)


def with_anomaly_detection(*given):
    torch.autograd.set_detect_anomaly(True)
    return d_step()(*given)


def by_the_formula(out, labels):
    return -(labels * out.sigmoid().log() + (1 - labels) * (1 - out.sigmoid()).log()).nan_to_num().mean()


NEAR["5.1"] = [
    (fakes_judged_without_graph, "D learns of real images alone"),
    (zeroed_between, "D learns of the fakes alone"),
    (with_anomaly_detection, "anomaly mode"),
    (d_step(loss=by_the_formula), "which is very sure (take the loss of the logits)"),
    (d_step((0.9, 0.0)), "the loss is 0.9529; expected 0.8279"),
    (d_step(loss=log_with_a_little_more), "which is very sure"),
    (step_before_backward, "zero_grad(), then backward(), then step()"),
    (logits_after_the_step, "the logits of real images is 1.4051; expected 1.2500"),
    (lambda *given: (each for each in d_step()(*given)), "returned a generator"),
]
CASES["5.1"] = (
    [
        d_step(),
        two_backward_passes,
        by_autograd,
        by_closure,
        lambda d, o, real, fake: update_discriminator(d, o, real, fake),
    ],
    [
        (d_step((0.0, 1.0)), "labels are exchanged"),
        (d_step((1.0, 1.0)), "Both have the label 1"),
        (d_step((0.0, 0.0)), "Both have the label 0"),
        (d_step(factor=0.5), "mean of the two terms"),
        (d_step(loss=summed), "sum over the batch"),
        (d_step(factor=-1), "the loss is -"),
        (d_step(detach=False), "G got a gradient in D's step"),
        (d_step(before=False), "Gradients are added up"),
        (d_step(before=False, after=True), "zero_grad(), then backward(), then step()"),
        (d_step(step=False), "step() of the optimizer given was called 0 times"),
        (d_step(joint=True), "in one batch"),
        (d_step(loss=of_probabilities), "BCELoss has no gradient left"),
        (d_step(loss=lambda out, y: bce(torch.sigmoid(out), y)), "sigmoid is taken twice"),
        (d_step(loss=F.binary_cross_entropy), "your code raised RuntimeError: all elements of input should be"),
        (d_step(returns=lambda loss, a, b: loss), "Your step returned tensor(0.8279); expected the loss, the logits"),
        (d_step(returns=lambda loss, a, b: (loss.item(), a, b)), "the loss is a number"),
        (d_step(returns=lambda loss, a, b: (loss, b, a)), "The order is loss, real logits, fake logits"),
        (d_step(returns=lambda loss, a, b: (loss, a.sigmoid(), b.sigmoid())), "Return the logits, not D(x)"),
        (d_step(returns=lambda loss, a, b: (loss, a[:, 0], b[:, 0])), "the shape (3,); expected (3, 1)"),
        (d_step(returns=lambda loss, a, b: (loss.clone().requires_grad_(), a, b)), "still carries its graph"),
        (in_eval_mode(d_step()), "in eval mode"),
        (left_in_eval_mode, "changes the mode"),
        (in_place, "writes into the images"),
        (own_optimizer, "step() of the optimizer given was called 0 times"),
        (nan_loss, "the loss is nan"),
        (d_step(loss=of_a_fresh_tensor), "D has not moved"),
    ],
)


def g_step(label=1.0, loss=bce, detach=False, zero=True, step=True, factor=1, freeze=False, restore=True, item=False):
    """An answer to exercise 5.2; the defaults give a right one."""

    def answer(discriminator, optimizer, fake):
        discriminator.requires_grad_(not freeze)
        logits = discriminator.logits(fake.detach() if detach else fake)
        total = factor * loss(logits, torch.full_like(logits, label))
        discriminator.requires_grad_(restore)
        if zero:
            optimizer.zero_grad()
        total.backward()
        if step:
            optimizer.step()
        return total.item() if item else total.detach()

    return answer


def frozen_copy(discriminator, optimizer, fake):
    judge = copy.deepcopy(discriminator).requires_grad_(False)
    loss = F.softplus(-judge.logits(fake)).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


class Logits(nn.Module):
    def __init__(self, discriminator):
        super().__init__()
        self.discriminator = discriminator

    def forward(self, x):
        return self.discriminator.logits(x)


def by_functional_call(discriminator, optimizer, fake):
    frozen = {f"discriminator.{name}": p.detach() for name, p in discriminator.named_parameters()}
    loss = -F.logsigmoid(torch.func.functional_call(Logits(discriminator), frozen, (fake,))).mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()  # after it: G gets no gradient in between
    return loss.detach()


def image_by_image(discriminator, optimizer, fake):
    """A loop over the batch, of whose terms the mean is taken."""
    optimizer.zero_grad()
    logits = discriminator.logits(fake)
    loss = sum(F.softplus(-logit) for logit in logits.flatten()) / len(logits)
    loss.backward()
    optimizer.step()
    return loss.detach()


def without_graph(discriminator, optimizer, fake):
    with torch.no_grad():
        logits = discriminator.logits(fake)
    loss = bce(logits, torch.ones_like(logits))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


def moves_d_too(discriminator, optimizer, fake):
    loss = g_step()(discriminator, optimizer, fake)
    torch.optim.SGD(discriminator.parameters(), 0.1).step()
    return loss


NEAR["5.2"] = [
    (g_step(0.9), "the loss is 0.8009; expected 0.8259"),
    (g_step(factor=2), "the loss is 1.6519; expected 0.8259"),
    (g_step(loss=log_with_a_little_more), "which is very sure"),
    (step_before_backward, "or backward() not before step()"),
]
CASES["5.2"] = (
    [
        g_step(),
        g_step(freeze=True),
        frozen_copy,
        by_functional_call,
        image_by_image,
        lambda d, o, fake: update_generator(d, o, fake),
    ],
    [
        (g_step(0.0), "label 0; G wants"),
        (g_step(0.0, factor=-1), "saturating loss"),
        (g_step(loss=summed), "sum over the batch"),
        (g_step(factor=-1), "the loss is -"),
        (g_step(detach=True), "is fake detached"),
        (g_step(step=False), "step() of the optimizer given was called 0 times"),
        (g_step(zero=False), "added up from step to step"),
        (g_step(freeze=True, restore=False), "changes requires_grad"),
        (g_step(loss=of_probabilities), "BCELoss has no gradient left"),
        (g_step(loss=lambda out, y: bce(torch.sigmoid(out), y)), "sigmoid is taken twice"),
        (g_step(loss=F.binary_cross_entropy), "your code raised RuntimeError: all elements of input should be"),
        (g_step(item=True), "the loss is a number"),
        (in_eval_mode(g_step()), "in eval mode"),
        (without_graph, "your code raised RuntimeError"),
        (moves_d_too, "D has moved"),
        (g_step(loss=of_a_fresh_tensor), "G has not moved"),
        (lambda d, o, fake: g_step()(d, o, fake).requires_grad_(), "still carries its graph"),
        (lambda d, o, fake: (g_step()(d, o, fake),) * 2, "returned 2 things"),
        (lambda d, o, fake: (g_step()(d, o, fake),), "As the loss your step returned a list"),
    ],
)


def epoch(order=None, keep_last=True, noise=torch.randn, outside=False, seed=None, swap=False, pair=None, **how):
    """An answer to exercise 5.3; the defaults give a right one."""

    def answer(generator, discriminator, g_optimizer, d_optimizer, images, batch_size, d_step, g_step):
        if seed is not None:
            torch.manual_seed(seed)
        losses, z = [], noise(batch_size, 100)
        batches = images[(order or torch.randperm)(len(images))].split(batch_size)
        for real in batches if keep_last else [batch for batch in batches if len(batch) == batch_size]:
            if not outside:
                z = noise(how.get("many", len(real)), 100)
            fake = generator(z[: len(real)] if outside else z)
            if how.get("detach"):
                fake = fake.detach()
            d_loss, *_ = d_step(discriminator, g_optimizer if swap else d_optimizer, real, fake)
            g_loss = g_step(discriminator, d_optimizer if swap else g_optimizer, fake)
            losses.append(pair(d_loss, g_loss) if pair else (d_loss, g_loss))
        return losses

    return answer


def by_dataloader(generator, discriminator, g_optimizer, d_optimizer, images, batch_size, d_step, g_step):
    losses = []
    for (real,) in DataLoader(TensorDataset(images), batch_size, shuffle=True):
        fake = generator(torch.randn(len(real), 100))
        losses.append([d_step(discriminator, d_optimizer, real, fake)[0].item()])
        losses[-1].append(g_step(discriminator, g_optimizer, fake).item())
    return torch.tensor(losses)


def by_index(generator, discriminator, g_optimizer, d_optimizer, images, batch_size, d_step, g_step):
    """Algorithm 1 as printed: G's step on noise of its own."""
    order, losses = torch.randperm(len(images)), []
    for start in range(0, len(images), batch_size):
        real = images[order[start : start + batch_size]]
        with torch.no_grad():
            fake = generator(torch.randn(len(real), 100))
        d_loss, _, _ = d_step(discriminator, d_optimizer, real, fake)
        g_loss = g_step(discriminator, g_optimizer, generator(torch.randn(len(real), 100)))
        losses.append((float(d_loss), float(g_loss)))
    return losses


def by_numpy(generator, discriminator, g_optimizer, d_optimizer, images, batch_size, d_step, g_step):
    order = np.random.permutation(len(images))  # noqa: NPY002
    losses = []
    for part in np.split(order, range(batch_size, len(images), batch_size)):
        fake = generator(torch.randn(len(part), 100))
        d_loss, _, _ = d_step(discriminator, d_optimizer, images[torch.from_numpy(part)], fake)
        losses.append((d_loss.item(), g_step(discriminator, g_optimizer, fake).item()))
    return np.array(losses)


def one_after_the_other(generator, discriminator, g_optimizer, d_optimizer, images, batch_size, d_step, g_step):
    batches = images[torch.randperm(len(images))].split(batch_size)
    fakes = [generator(torch.randn(len(real), 100)) for real in batches]
    d_losses = [d_step(discriminator, d_optimizer, real, fake)[0] for real, fake in zip(batches, fakes, strict=True)]
    return [(loss, g_step(discriminator, g_optimizer, fake)) for loss, fake in zip(d_losses, fakes, strict=True)]


def with_replacement(count):
    return torch.randint(count, (count,))


def of_batches(give):
    """An answer to exercise 5.3 that goes through the batches rightly, and returns what `give` makes of the pairs."""

    def answer(generator, discriminator, g_optimizer, d_optimizer, images, batch_size, d_step, g_step):
        def pairs():
            for real in images[torch.randperm(len(images))].split(batch_size):
                fake = generator(torch.randn(len(real), 100))
                d_loss, *_ = d_step(discriminator, d_optimizer, real, fake)
                yield d_loss, g_step(discriminator, g_optimizer, fake)

        return give(pairs())

    return answer


def exchanged(generator, discriminator, g_optimizer, d_optimizer, images, batch_size, d_step, g_step):
    return epoch()(
        generator, discriminator, g_optimizer, d_optimizer, images, batch_size,
        lambda d, o, real, fake: d_step(d, o, fake, real), g_step,
    )  # fmt: skip


NEAR["5.3"] = [
    (epoch(order=with_replacement), "in batches of [4, 4, 2], and others twice"),
    (
        epoch(noise=lambda *size: torch.from_numpy(np.random.standard_normal(size))),  # noqa: NPY002
        "raised ValueError: the generator takes z of shape (N, 100), float32",
    ),
    (of_batches(iter), "append each pair to a list"),
    (of_batches(lambda pairs: tuple(zip(*pairs, strict=True))), "Those are two lists"),
    (of_batches(lambda pairs: [next(pairs)]), "never came, in batches of [4]"),
    (of_batches(lambda pairs: [(-a, -b) for a, b in pairs]), "You returned -0.7500 as L_G of batch 3; expected 0.7500"),
    (epoch(noise=lambda n, width: torch.randn(1, width).expand(n, -1)), "Fakes of a batch had the same noise"),
    (epoch(noise=torch.ones), "Fakes of a batch had the same noise"),
    (exchanged, "The D step got others than the images"),
    (epoch(noise=lambda *size: torch.randn(size) / 10), "and deviation 0.1"),
    (epoch(noise=lambda n, width: torch.randn(n, 64)), "raised ValueError: the generator takes z of shape (N, 100)"),
    (epoch(order=lambda n: torch.arange(n - 1, -1, -1)), "Two epochs had the same order"),
    (lambda g, *given: epoch()(g.eval(), *given), "changes the mode (train or eval) of g"),
]
CASES["5.3"] = (
    [
        epoch(),
        by_dataloader,
        by_index,
        by_numpy,
        of_batches(tuple),
        epoch(pair=lambda d, g: torch.stack([d, g])),
        epoch(pair=lambda d, g: np.array([d.item(), g.item()])),
    ],
    [
        (epoch(order=torch.arange), "in the order of the file"),
        (epoch(seed=20140610), "Two epochs had the same order"),
        (epoch(seed=0), "sets the random seed"),
        (epoch(keep_last=False), "the last, smaller one counts"),
        (epoch(outside=True), "Two batches had the same noise"),
        (epoch(noise=torch.rand), "never negative"),
        (epoch(noise=lambda *size: 2 * torch.rand(size) - 1), "deviation 0.6"),
        (epoch(many=4), "fakes stood beside"),
        (epoch(detach=True), "have no graph"),
        (epoch(swap=True), "another network or optimizer"),
        (epoch(order=with_replacement), "never came"),
        (epoch(order=lambda n: torch.cat([torch.randperm(n), torch.arange(2)])), "each image once"),
        (epoch(pair=lambda d, g: (g, d)), "in this order"),
        (lambda *given: epoch()(*given)[-1:], "Only the last batch's losses"),
        (lambda *given: epoch()(*given)[:1], "3 pairs (L_D, L_G)"),
        (lambda *given: torch.tensor(epoch()(*given)).mean(0), "a pair for each batch, not the mean"),
        (lambda *given: [epoch()(*given), None][1], "You returned None"),
        (one_after_the_other, "in the order DDDGGG"),
        (lambda g, d, *given: epoch()(g, g, *given), "another network"),
        (lambda *given: [], "in the order of none"),
    ],
)


def arc_angle(a, b):
    return torch.acos(a @ b / (a.norm() * b.norm()))


def arc(angle=arc_angle, swap=False, scale=1.0):
    """An answer to exercise 5.5; the defaults give a right one."""

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


def arc_by_tangent(a, b, t):
    theta = math.acos(F.cosine_similarity(a.double(), b.double(), dim=0))
    return (math.cos(t * theta) - math.sin(t * theta) / math.tan(theta)) * a + math.sin(t * theta) / math.sin(theta) * b


def arc_by_matrix(a, b, t):
    """The exponential of a rotation's generator, in the plane of a and b."""
    e = a / a.norm()
    side = F.normalize(b - (b @ e) * e, dim=0)
    plane = torch.outer(side, e) - torch.outer(e, side)
    return torch.linalg.matrix_exp(t * torch.atan2(b @ side, b @ e) * plane) @ a


NEAR["5.5"] = [
    (arc(lambda a, b: torch.acos(a @ b)), "acos takes the cosine, a @ b / (|a| |b|), with both norms"),
    (arc(lambda a, b: torch.acos((a @ b).abs() / (a.norm() * b.norm()))), "120 degrees apart"),
    (lambda a, b, t: arc()(a.double(), b.double(), t), "the type torch.float64; expected torch.float32"),
    (lambda a, b, t: arc()(a, b, t).abs(), "expected -"),
    (arc(scale=0.5), "component"),
    (lambda a, b, t: arc()(a, b, t * t), "component 1 is 1.7365; expected 5.0000"),
    (arc(lambda a, b: arc_angle(a, b) - 2 * math.pi), "at t = 0.33, component 1 is -10.0000"),
]
CASES["5.5"] = (
    [arc(), arc_by_rotation, arc_by_tangent, arc_by_matrix],
    [
        (lambda a, b, t: (1 - t) * a + t * b, "straight line, whose norm falls"),
        (arc(swap=True), "exchange the two weights"),
        (lambda a, b, t: arc()(a, b, t) * arc_angle(a, b).sin(), "must be divided by sin(theta)"),
        (arc(scale=0.1), "of norm 1; a and b have another"),
        (lambda a, b, t: 10 * torch.nn.functional.normalize((1 - t) * a + t * b, dim=0), "pushed back"),
        (arc(lambda a, b: arc_angle(a, b).rad2deg()), "in radians"),
        (arc(lambda a, b: torch.tensor(math.pi / 2)), "perpendicular a and b only"),
        (lambda a, b, t: 0.0, "must return a tensor"),
    ],
)


NEAR["5.4"] = [
    (lambda losses, sizes: round(np.average(losses, weights=sizes), 2), "have mean 1.9900; expected 1.9851"),
    (lambda losses, sizes: np.average(losses, weights=sizes) // 1, "have mean 4.0000; expected 4.8000"),
    (lambda losses, sizes: max(losses), "have mean 8.0000; expected 4.8000"),
    (lambda losses, sizes: [np.average(losses, weights=sizes)], "return one number"),
    (lambda losses, sizes: (statistics.fmean(losses, sizes), losses.pop())[0], "changes losses"),
]
CASES["5.4"] = (
    [
        lambda losses, sizes: sum(x * n for x, n in zip(losses, sizes, strict=True)) / sum(sizes),
        lambda losses, sizes: np.average(losses, weights=sizes),
        statistics.fmean,
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
