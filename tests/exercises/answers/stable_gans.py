"""Right and wrong answers to the exercises of notebook 07."""

import copy

import torch

from labutils.losses import r1_penalty
from labutils.training import update_average

CASES = {}  # number -> (right answers, wrong ones with their sentences)
NEAR = {}  # number -> answers that are only nearly right, with their sentences


def averaged(names=lambda key: True, mean=lambda a, b, decay: decay * a + (1 - decay) * b):
    """An answer to exercise 7.3; the defaults give a right one, in which a whole number is cut off."""

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


@torch.no_grad()
def averaged_by_names(average, network, decay):
    mine = average.state_dict()
    for key, value in network.state_dict().items():
        mine[key] = value.clone() if "num" in key else decay * mine[key] + (1 - decay) * value
    average.load_state_dict(mine)


def averaged_while_recording(average, network, decay):
    for a, b in zip(average.parameters(), network.parameters(), strict=True):
        a.mul_(decay).add_(b, alpha=1 - decay)


def averaged_the_network(average, network, decay):
    averaged()(network, average, 1 - decay)


CASES["7.3"] = (
    [averaged(), averaged_with_newest_buffers, update_average, averaged_by_names],
    [
        (averaged(lambda key: "running" not in key), "1.running_mean was forgotten: buffers are in state_dict()"),
        (averaged(lambda key: "bias" not in key), "0.bias was forgotten: every tensor"),
        (averaged(mean=lambda a, b, decay: (1 - decay) * a + decay * b), "are exchanged"),
        (averaged(mean=lambda a, b, decay: b), "0.weight is a copy of the network's"),
        (averaged(mean=lambda a, b, decay: a + b), "With decay = 0.9, 0.weight becomes"),
        (averaged(mean=lambda a, b, decay: torch.lerp(a, b, 1 - decay)), "raised RuntimeError"),
        (averaged_while_recording, "raised RuntimeError"),
        (averaged_the_network, "The network has changed"),
        (lambda average, network, decay: copy.deepcopy(network), "The average has not changed"),
    ],
)


def smoothed_by_steps(p_data, p_g, a, b):
    logit = torch.zeros_like(p_data)
    for _ in range(6000):  # downhill on the loss, whose slope is (p_data + p_g) D - a p_data - b p_g
        logit = logit - 5 * ((p_data + p_g) * torch.sigmoid(logit) - a * p_data - b * p_g)
    return torch.sigmoid(logit)


CASES["7.1"] = (
    [
        lambda p, q, a, b: (a * p + b * q) / (p + q),
        smoothed_by_steps,
        lambda p, q, a, b: (a * p.double() + b * q.double()) / (p.double() + q.double()),
        lambda p, q, a, b: torch.stack([(a * x + b * y) / (x + y) for x, y in zip(p, q, strict=True)]),
    ],
    [
        (lambda p, q, a, b: p / (p + q), "the labels do not enter"),
        (lambda p, q, a, b: a * p / (p + q), "label b of the fakes is missing"),
        (lambda p, q, a, b: (b * p + a * q) / (p + q), "are exchanged"),
        (lambda p, q, a, b: 1 - (a * p + b * q) / (p + q), "probability that x is fake"),
        (lambda p, q, a, b: a * p / (a * p + (1 - b) * q), "Real samples have two terms"),
        (lambda p, q, a, b: a * p + b * q, "divide by p_data + p_g"),
        (lambda p, q, a, b: torch.full((4,), 0.5), "your D is 0.5000; expected 0.0000"),
        (lambda p, q, a, b: 0.45, "must return a tensor"),
    ],
)


def slope_of(logits, real, **options):
    x = real.clone().requires_grad_()
    return torch.autograd.grad(logits(x).sum(), x, **{"create_graph": True} | options)[0].flatten(1)


def by_backward_ones(logits, real):
    x = real.clone().requires_grad_(True)
    out = logits(x)
    return torch.autograd.grad(out, x, torch.ones_like(out), create_graph=True)[0].pow(2).sum((1, 2, 3)).mean() * 0.5


def image_by_image(logits, real):
    return torch.stack([slope_of(logits, one[None]).square().sum() / 2 for one in real]).mean()


def in_double(logits, real):
    return slope_of(logits, real).double().norm(dim=1).square().mean() / 2


def on_the_given(logits, real):
    real.requires_grad_()
    return torch.autograd.grad(logits(real).sum(), real, create_graph=True)[0].flatten(1).square().sum(1).mean() / 2


def of_the_probability(logits, real):
    return slope_of(lambda x: torch.sigmoid(logits(x)), real).square().sum(1).mean() / 2


CASES["7.2"] = (
    [r1_penalty, by_backward_ones, image_by_image, in_double],
    [
        (lambda logits, real: slope_of(logits, real).square().sum(1).mean(), "twice the penalty"),
        (lambda logits, real: slope_of(logits, real).square().sum() / 2, "sum over the images: R1 is their mean"),
        (lambda logits, real: slope_of(logits, real).square().mean() / 2, "mean over the pixels"),
        (lambda logits, real: slope_of(logits, real).square().mean(), "without the half"),
        (lambda logits, real: slope_of(logits, real).norm(dim=1).mean() / 2, "length is not squared."),
        (lambda logits, real: slope_of(logits, real).norm(dim=1).mean(), "the half is missing"),
        (lambda logits, real: ((slope_of(logits, real).norm(dim=1) - 1) ** 2).mean(), "WGAN-GP's"),
        (of_the_probability, "slope of the probability"),
        (lambda logits, real: slope_of(logits, real, create_graph=False).square().sum(1).mean() / 2, "could not learn"),
        (lambda logits, real: r1_penalty(logits, real).detach(), "could not learn"),
        (lambda logits, real: r1_penalty(logits, real).item(), "could not learn"),
        (lambda logits, real: r1_penalty(logits, real) + 0.01, "The penalty is"),
        (lambda logits, real: slope_of(logits, real).square().sum(1) / 2, "return one number"),
        (on_the_given, "changes requires_grad of real"),
        (lambda logits, real: torch.autograd.grad(logits(real).sum(), real)[0].sum(), "raised RuntimeError"),
    ],
)

NEAR["7.1"] = [  # right for the labels .9 and 0, for equal densities, or for most points
    (lambda p, q, a, b: a * p / (p + q), "label b of the fakes is missing"),
    (lambda p, q, a, b: torch.full((4,), (a + b) / 2), "your D is"),
    (lambda p, q, a, b: (a * p + b * q) / (p + q + 1e-2), "your D is"),
    (lambda p, q, a, b: ((a * p + b * q) / (p + q)).clamp(0.05, 0.85), "your D is"),
]


def by_backward(logits, real):
    x = real.clone().requires_grad_()
    logits(x).sum().backward(create_graph=True)
    return x.grad.flatten(1).square().sum(1).mean() / 2


def slope_of_the_mean(logits, real):
    return slope_of(lambda x: logits(x) / len(x), real).square().sum(1).mean() / 2


def averaged_by_loading(average, network, decay):
    other = dict(network.named_parameters())
    average.load_state_dict({n: decay * p + (1 - decay) * other[n] for n, p in average.named_parameters()})


NEAR["7.2"] = [  # the right number, but not for D, not for every D, or with a trace left behind
    (lambda logits, real: r1_penalty(logits, real.clone()) * (1 + 1e-3), "The penalty is"),
    (lambda logits, real: r1_penalty(logits, real) + 0 * logits(real).sum().detach() + 1e-2, "The penalty is"),
    (lambda logits, real: r1_penalty(logits, real).detach().requires_grad_(), "its gradient over 0.weight is not"),
    (lambda logits, real: slope_of(logits, real[:1]).square().sum() / 2, "The penalty is"),
    (lambda logits, real: slope_of(logits, real).abs().sum(1).mean() / 2, "The penalty is 19.6000; expected 0.9800"),
    (by_backward, "D holds gradients now"),
    (slope_of_the_mean, "That is the slope of the mean of the logits"),
]


def averaged_with_shared_buffers(average, network, decay):
    averaged_with_newest_buffers(average, network, decay)
    for a, b in zip(average.buffers(), network.buffers(), strict=True):
        a.data = b.data


NEAR["7.3"] = [  # all but the buffers, all but one tensor, or with a decay of its own
    (averaged(lambda key: key != "1.running_var"), "1.running_var was forgotten"),
    (averaged_by_loading, "raised RuntimeError: Error(s) in loading state_dict for Sequential: Missing key(s)"),
    (averaged_with_shared_buffers, "1.running_mean is one tensor of both now"),
    (averaged(lambda key: key != "1.bias"), "1.bias was forgotten"),
    (averaged(mean=lambda a, b, decay: 0.9 * a + 0.1 * b), "With decay = 0.5"),
]
