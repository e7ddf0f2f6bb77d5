"""Right and wrong answers to the exercises of notebook 07."""

import copy

import torch
from torch.nn import functional as F

from labutils.training import update_average

CASES = {}  # number -> (right answers, wrong ones with their sentences)


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


CASES["7.1"] = (
    [averaged(), averaged_with_newest_buffers, update_average],
    [
        (averaged(lambda key: "running" not in key), "1.running_mean was forgotten: buffers are in state_dict()"),
        (averaged(lambda key: "bias" not in key), "0.bias was forgotten: every tensor"),
        (averaged(mean=lambda a, b, decay: (1 - decay) * a + decay * b), "are exchanged"),
        (averaged(mean=lambda a, b, decay: b), "0.weight is a copy of the network's"),
        (averaged(mean=lambda a, b, decay: a + b), "is not decay * average"),
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


CASES["7.2"] = (
    [lambda p, q, a, b: (a * p + b * q) / (p + q), smoothed_by_steps],
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


def one_hot(labels):
    return F.one_hot(labels, 10).float()


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


CASES["7.3"] = (  # an answer is a pair of functions
    [
        (noise_joined(), images_joined()),
        (lambda z, labels: torch.cat([torch.eye(10)[labels] * 2 - 1, z], 1), filled_one_by_one),
        (noise_joined(lambda labels: F.one_hot(labels, 10)), filled_one_by_one),
    ],
    [
        ((noise_joined(lambda labels: labels[:, None].float()), images_joined()), "no quantity, 7 is not more than 3"),
        ((lambda z, labels: z, images_joined()), "join_noise returned (5, 100); expected (5, 110)"),
        ((lambda z, labels: noise_joined()(z * 0, labels), images_joined()), "must hold z unchanged"),
        ((noise_joined(lambda labels: torch.zeros(5, 10)), images_joined()), "the same for every label"),
        ((noise_joined(lambda labels: one_hot(labels[:1]).expand(5, -1)), images_joined()), "the label of the first"),
        ((noise_joined(lambda labels: one_hot(labels).flip(1)), images_joined()), "from the end"),
        (
            (noise_joined(lambda labels: torch.arange(10.0 * len(labels)).view(-1, 10)), images_joined()),
            "join_noise does not hold a one-hot label",
        ),
        ((noise_joined(), images_joined(lambda labels: planes(labels)[:, :1])), "One channel for each digit"),
        ((noise_joined(), lambda x, labels: x), "join_images returned (5, 1, 28, 28)"),
        ((noise_joined(), lambda x, labels: None), "join_images returned NoneType"),
        ((noise_joined(), images_joined(in_a_corner)), "differ from pixel to pixel"),
        ((noise_joined(), images_joined(lambda labels: planes(labels[:1].expand(5)))), "the label of the first"),
        ((noise_joined(), lambda x, labels: images_joined()(x.detach(), labels)), "No gradient reaches x"),
        ((noise_joined(), in_place), "changes x, which belongs to the caller"),
        ((noise_joined(), lambda x, labels: images_joined()(x + planes(labels)[:, :1], labels)), "hold x unchanged"),
    ],
)
