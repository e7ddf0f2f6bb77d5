"""Right and wrong answers to the exercises of notebook 06."""

import copy
import math
from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F

from labutils.models import DCGenerator, sample

CASES = {}  # number -> (right answers, wrong ones with their sentences)
NEAR = {}  # number -> answers that are only nearly right, with their sentences


def built(swap=None, forward=None):
    """An answer to exercise 6.1; `swap` changes its list of layers, `forward` how they are used."""

    class Network(torch.nn.Module):
        def __init__(self, z_dim=100):
            super().__init__()
            layers = [nn.Linear(z_dim, 6272), nn.BatchNorm1d(6272), nn.ReLU(), nn.Unflatten(1, (128, 7, 7))]
            layers += [nn.ConvTranspose2d(128, 64, 4, 2, 1), nn.BatchNorm2d(64), nn.ReLU()]
            layers += [nn.ConvTranspose2d(64, 1, 4, 2, 1), nn.Tanh()]
            self.layers = nn.Sequential(*(swap(layers) or layers if swap else layers))

        def forward(self, z):
            return forward(self.layers, z) if forward else self.layers(z)

    return Network


def changed(**by):
    """An answer to exercise 6.1 in which the layer _i is another one, or, for None, is left out."""
    new = {int(key[1:]): layer for key, layer in by.items()}
    return built(lambda layers: [x for i, old in enumerate(layers) if (x := new.get(i, old)) is not None])


def without_layers(z_dim=100):
    return built()(z_dim).layers


def by_functions(layers, z):
    x = torch.relu(layers[1](layers[0](z))).reshape(-1, 128, 7, 7)
    return torch.tanh(layers[7](torch.relu(layers[5](layers[4](x)))))


def inplace(layers):
    layers[2], layers[6] = torch.nn.ReLU(inplace=True), torch.nn.ReLU(inplace=True)


def named(z_dim=100):
    network = built()(z_dim)
    network.layers = torch.nn.Sequential(OrderedDict((f"layer {i}", x) for i, x in enumerate(network.layers)))
    return network


def with_a_second_name(z_dim=100):
    network = built()(z_dim)
    network.main = network.layers
    return network


def lazily(layers):
    layers[0], layers[1], layers[5] = nn.LazyLinear(6272), nn.LazyBatchNorm1d(), nn.LazyBatchNorm2d()
    layers[4], layers[7] = nn.LazyConvTranspose2d(64, 4, 2, 1), nn.LazyConvTranspose2d(1, 4, 2, 1)


CASES["6.1"] = (
    [DCGenerator, built(), built(lazily), built(inplace), built(forward=by_functions)],
    [
        (changed(_1=None, _5=None), "Batch normalisation is missing"),
        (
            changed(
                _4=torch.nn.ConvTranspose2d(128, 64, 4, 2, 1, bias=False),
                _7=torch.nn.ConvTranspose2d(64, 1, 4, 2, 1, bias=False),
            ),
            "have a bias here",
        ),
        (
            changed(_4=torch.nn.ConvTranspose2d(128, 64, 3, 2, 1), _7=torch.nn.ConvTranspose2d(64, 1, 3, 2, 1)),
            "The kernel is 4",
        ),
        (built(lambda layers: [*layers[:8], torch.nn.BatchNorm2d(1), layers[8]]), "No batch normalisation before Tanh"),
        (
            built(lambda x: [x[0], x[3], torch.nn.BatchNorm2d(128), x[2], *x[4:]]),
            "BatchNorm1d of all 6272 values, before Unflatten",
        ),
        (changed(_8=None), "Tanh is missing"),
        (changed(_8=torch.nn.Sigmoid()), "Sigmoid ends in [0, 1]"),
        (changed(_2=None, _6=None), "ReLU is missing"),
        (changed(_2=torch.nn.LeakyReLU(0.2), _6=torch.nn.LeakyReLU(0.2)), "LeakyReLU is the discriminator's"),
        (built(lambda x: [x[0], x[2], x[1], *x[3:]]), "The first ReLU comes after the batch normalisation"),
        (changed(_5=None), "Your parameters have the shapes"),
        (changed(_4=torch.nn.ConvTranspose2d(128, 64, 4, 2, 0)), "yours returned the shape (5, 1, 32, 32)"),
        (without_layers, "Keep the nine layers as self.layers"),
        (built()(), "the class itself, Network, with no brackets"),
        (lambda z_dim: built()(100), "Your first layer takes 100 numbers"),
    ],
)
NEAR["6.1"] = [
    (named, "The next cells load layers.0.weight"),
    (with_a_second_name, "The next cells load layers.0.weight"),
    (built(forward=lambda layers, z: layers(z).double()), "the type torch.float64; expected torch.float32"),
    (changed(_2=None), "compare the layers and their order"),
    (changed(_6=torch.nn.LeakyReLU(0.01)), "compare the layers and their order"),
    (built(forward=lambda layers, z: layers.eval()(z)), "compare the layers and their order"),
    (built(forward=lambda layers, z: layers(z).detach()), "No gradient reaches the weights"),
    (built(forward=lambda layers, z: layers[4:](layers[:4](z).detach())), "reaches the weights, or not all"),
]


def size_by_module(size, kernel, stride, padding):
    layer = torch.nn.ConvTranspose2d(1, 1, kernel, stride, padding, device="meta")
    return layer(torch.empty(1, 1, size, size, device="meta")).shape[-1]


NEAR["6.3"] = [
    (lambda n, k, s, p: (n - 1) * s + k - p, "Padding is cut off at both sides"),
    (lambda n, k, s, p: size_by_module(n, k, s, p) + (s == 1), "For size 1, kernel 7, stride 1, padding 0 it is 8"),
    (lambda n, k, s, p: max(14, size_by_module(n, k, s, p)), "it is 14; expected 7"),
]
CASES["6.3"] = (
    [
        size_by_module,
        lambda n, k, s, p: (n - 1) * s - 2 * p + k,
        lambda n, k, s, p: len({i * s + j for i in range(n) for j in range(k)} | {*range((n - 1) * s)}) - 2 * p,
        lambda n, k, s, p: torch.nn.ConvTranspose2d(1, 1, k, s, p)(torch.zeros(1, 1, n, n)).shape[3],
    ],
    [
        (lambda n, k, s, p: (n + 2 * p - k) // s + 1, "rule of Conv2d"),
        (lambda n, k, s, p: n * s - 2 * p + k, "size - 1 strides"),
        (lambda n, k, s, p: (n - 1) * s + 2 * p + k, "subtract it"),
        (lambda n, k, s, p: (n - 1) * s - p + k, "twice"),
        (lambda n, k, s, p: n * s, "not in general"),
        (lambda n, k, s, p: float((n - 1) * s - 2 * p + k), "not an int"),
        (lambda n, k, s, p: 0, "it is 0; expected 17"),
        (lambda n, k, s, p: torch.tensor(float((n - 1) * s - 2 * p + k)), "not an int"),
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


def gradients_left_off(generator, z):
    training = generator.training
    torch.set_grad_enabled(False)
    out = generator.eval()(z)
    generator.train(training)
    return out


def gradients_on_whatever_they_were(generator, z):
    out = sample(generator, z)
    torch.set_grad_enabled(True)
    return out


def in_train_mode_but_restored(generator, z):
    state, training = copy.deepcopy(generator.state_dict()), generator.training
    with torch.no_grad():
        out = generator.train()(z)
    generator.load_state_dict(state)
    generator.train(training)
    return out


def by_inference_mode(generator, z):
    training = generator.training
    try:
        with torch.inference_mode():
            return generator.eval()(z)
    finally:
        generator.train(training)


def by_the_running_statistics(generator, z):
    norm = generator[1]
    with torch.no_grad():
        return (generator[0](z) - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias


NEAR["6.2"] = [
    (lambda generator, z: sample(generator, z).clamp(-1, 1), "in eval mode it is"),
    (lambda generator, z: sample(generator, z)[:1], "returned the shape (1, 4); expected (6, 4)"),
    (lambda generator, z: sample(generator.requires_grad_(False), z), "changes requires_grad of generator"),
    (lambda generator, z: sample(generator, torch.randn_like(z)), "draws random numbers"),
]
CASES["6.2"] = (
    [
        sample,
        quietly_by_hand,
        by_inference_mode,
        by_the_running_statistics,
        lambda generator, z: copy.deepcopy(generator).eval()(z).detach(),
    ],
    [
        (quietly(evaluate=False), "changed the running statistics"),
        (quietly(no_grad=False), "carry a graph"),
        (quietly(restore=False), "was in train mode and is in eval mode now"),
        (gradients_left_off, "leaves gradients switched on or off"),
        (gradients_on_whatever_they_were, "leaves gradients switched on or off"),
        (lambda generator, z: (sample(generator, z), generator.train())[0], "was in eval mode and is in train"),
        (in_train_mode_but_restored, "These are the images of train mode"),
    ],
)


def kl_by_torch(counts):
    shares = counts.double() / counts.sum()
    return torch.special.xlogy(shares, shares * 10).sum()


def kl_by_hand(counts):
    counts = counts.tolist()
    shares = [count / sum(counts) for count in counts if count]
    return sum(p * math.log(10 * p) for p in shares)


def kl_by_distributions(counts):
    shares, even = (torch.distributions.Categorical(weights.double()) for weights in (counts, torch.ones(10)))
    return torch.distributions.kl_divergence(shares, even)


NEAR["6.4"] = [
    (lambda counts: kl_by_torch(counts + 1), "it is 0.0788; expected 0.0955"),
    (lambda counts: kl_by_torch(counts).sqrt(), "it is 0.3090; expected 0.0955"),
    (lambda counts: kl_by_hand(counts) - math.log(10 / (counts > 0).sum()), "[0, 30, 0, 0, 10, 0, 0, 0, 0, 0]"),
]
CASES["6.4"] = (
    [
        kl_by_torch,
        kl_by_hand,
        kl_by_distributions,
        lambda counts: F.kl_div(torch.full((10,), 0.1).log(), counts / counts.sum(), reduction="sum"),
    ],
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
