"""Right and wrong answers to the exercises of notebook 03."""

import itertools
import math

import numpy as np
import torch
from torch import nn

from labutils import models
from labutils.models import Dropout

CASES = {}  # number -> (right answers, wrong ones with their sentences)
NEAR = {}  # number -> answers that are only nearly right, with their sentences


def counted(bias=lambda a, b: b, stop=None):
    """An answer to exercise 3.3; the defaults give a right one."""
    return lambda w: sum(a * b + bias(a, b) for a, b in list(itertools.pairwise(w))[:stop])


def counted_by_building(widths):
    layers = (torch.nn.Linear(a, b) for a, b in itertools.pairwise(widths))
    return sum(p.numel() for layer in layers for p in layer.parameters())


CASES["3.3"] = (
    [
        counted(),
        counted_by_building,
        lambda w: np.int64(counted()(w)),
        lambda w: torch.tensor(sum((a + 1) * b for a, b in itertools.pairwise(w))),
    ],
    [
        (counted(lambda a, b: 0), "The biases are missing"),
        (counted(lambda a, b: 1), "not one in all"),
        (counted(lambda a, b: a), "not to its inputs"),
        (lambda w: counted()(w) + w[0], "The input has no bias"),
        (counted(stop=-1), "The last layer is missing"),
        (lambda w: 1486352, "For widths [2, 3, 4] you counted 1486352"),
    ],
)


NEAR["3.3"] = [
    (lambda w: counted()(w) if len(w) < 4 else counted()(w) - 1, "you counted 1486351"),
    (lambda w: counted()(w) if len(w) == 3 else 1486352, "For widths [784, 1024, 512, 256, 1] you counted 1486352"),
    (lambda w: counted()(w.copy()) + (w.pop() or 0) * 0, "changes w, which belongs to the caller"),
    (lambda w: float("nan"), "you counted nan"),
]


def dropped(draw=lambda x: torch.rand(x.shape), keep=lambda u, p: u >= p, scale=lambda p: 1 / (1 - p)):
    """An answer to exercise 3.4; the defaults give a right one."""
    return lambda x, p: x * keep(draw(x), p) * scale(p)


def dropped_in_place(x, p):
    return x.mul_(torch.rand(x.shape) >= p).div(1 - p)


CASES["3.4"] = (
    [
        dropped(),
        torch.nn.functional.dropout,
        lambda x, p: Dropout(p)(x),
        lambda x, p: x * torch.bernoulli(torch.full_like(x, 1 - p)) / (1 - p),
        lambda x, p: torch.stack([torch.where(torch.rand(len(row)) < p, 0.0, row / (1 - p)) for row in x]),
    ],
    [
        (dropped(keep=lambda u, p: u < p), "p is the share to drop"),
        (dropped(keep=lambda u, p: u >= p / 2), "expected about 0.7"),
        (dropped(scale=lambda p: 1), "divide by 1 - p"),
        (dropped(scale=lambda p: 1 - p), "expected 1 / (1 - p) = 1.4286"),
        (dropped(lambda x: torch.rand(x.shape[1])), "Every row has the same mask"),
        (dropped(lambda x: torch.rand(len(x), 1)), "Whole rows are dropped"),
        (dropped(lambda x: torch.rand(x.shape, generator=torch.Generator().manual_seed(0))), "do not fix a seed"),
        (dropped(keep=lambda u, p: u >= max(p, 0.1)), "With p = 0 nothing is dropped"),
        (dropped_in_place, "changes x, which belongs to the caller"),
        (lambda x, p: torch.where(torch.rand(x.shape) < p, 0.0, x * math.nan) if p else x, "multiplied by nan"),
        (lambda x, p: dropped()(x, p).tolist(), "must return a tensor"),
    ],
)
NEAR["3.4"] = [  # right for positive numbers, for one number, for one p
    (lambda x, p: dropped()(x, p).abs() if p else x, "is multiplied by -1.4286; expected 1 / (1 - p) = 1.4286"),
    (lambda x, p: dropped()(torch.full_like(x, 2.0), p) if p else x, "A value kept is multiplied by"),
    (lambda x, p: dropped()(x, 0.3) if p else x, "With p = 0.6 you keep 0.69"),
    (lambda x, p: x.clone(), "Nothing was dropped: that is x as it was"),
    (lambda x, p: (torch.manual_seed(1), dropped()(x, p))[1], "sets the random seed"),
    (dropped(keep=lambda u, p: u >= p * 0.9), "expected about 0.7"),
    (lambda x, p: dropped()(x.detach(), p), "No gradient reaches x"),
    (lambda x, p: torch.from_numpy(dropped()(x.detach(), p).numpy()), "No gradient reaches x"),
    (lambda x, p: dropped()(x.detach(), p) + x - x.detach(), "has the gradient 1.0000; expected"),
]


def network(widths=(100, 256, 512, 1024, 784), between=nn.ReLU, end=(), start=(), after=()):
    """A class as an answer to exercise 3.1 or 3.2."""

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            layers = [*start]
            for a, b in itertools.pairwise(widths):
                layers += [nn.Linear(a, b), between(), *(layer() for layer in after)]
            self.layers = nn.Sequential(*layers[: -1 - len(after)], *end)

        def forward(self, batch):
            return self.layers(batch)

    return Network


class FunctionalGenerator(nn.Module):
    """Layers in another order than they are used, and functions in place of modules."""

    def __init__(self, z_dim=100):
        super().__init__()
        self.last = nn.Linear(1024, 784)
        self.first, self.second, self.third = nn.Linear(z_dim, 256), nn.Linear(256, 512), nn.Linear(512, 1024)

    def forward(self, z):
        for layer in (self.first, self.second, self.third):
            z = torch.relu(layer(z))
        return self.last(z).tanh().view(-1, 1, 28, 28)


class ListedGenerator(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise((100, 256, 512, 1024, 784)))

    def forward(self, z):
        for i, layer in enumerate(self.linear):
            z = layer(z).clamp(min=0) if i < 3 else torch.tanh(layer(z))
        return z.reshape(len(z), 1, 28, 28)


class ListHidesLayers(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = [nn.Linear(a, b) for a, b in itertools.pairwise((100, 256, 512, 1024, 784))]


class OfParameters(ListedGenerator):
    """No module of PyTorch's, only tensors."""

    def __init__(self):
        super().__init__()
        tensors = [p for layer in self.linear for p in (layer.weight, layer.bias)]
        self.linear, self.tensors = None, nn.ParameterList(tensors)

    def forward(self, z):
        for i in range(0, 8, 2):
            z = z @ self.tensors[i].T + self.tensors[i + 1]
            z = torch.where(z > 0, z, 0) if i < 6 else 2 * torch.sigmoid(2 * z) - 1
        return z[:, None].unflatten(2, (28, 28))


def lazily():
    hidden = [layer for width in (256, 512, 1024) for layer in (nn.LazyLinear(width), nn.ReLU())]
    return nn.Sequential(*hidden, nn.LazyLinear(784), *IMAGES)


class Detached(ListedGenerator):
    def forward(self, z):
        return super().forward(z).detach()


class HalfDetached(ListedGenerator):
    """Only the last layer learns."""

    def forward(self, z):
        for layer in self.linear[:3]:
            z = layer(z).relu()
        return torch.tanh(self.linear[3](z.detach())).reshape(len(z), 1, 28, 28)


IMAGES = (nn.Tanh(), nn.Unflatten(1, (1, 28, 28)))
CASES["3.1"] = (
    [network(end=IMAGES), FunctionalGenerator, ListedGenerator, models.Generator, OfParameters, lazily],
    [
        (network(end=IMAGES[1:]), "The Tanh at the end is missing"),
        (network(end=(nn.Sigmoid(), IMAGES[1])), "At the end is a Sigmoid"),
        (network(end=IMAGES[:1]), "returned the shape (5, 784); expected (5, 1, 28, 28)"),
        (network(between=nn.Identity, end=IMAGES), "No ReLU stands between"),
        (network(between=nn.Tanh, end=IMAGES), "Between the linear layers stands tanh"),
        (models.Generator(), "the class itself, Generator, with no brackets"),
        (ListHidesLayers, "has no parameters: keep its layers in nn.Sequential"),
        (network(between=nn.GELU, end=IMAGES), "stands gelu: ReLU there"),
        (network((100, 256, 1024, 784), end=IMAGES), "go from 100 to 256, 256 to 1024, 1024 to 784; expected"),
        (lambda: None, "made a NoneType, no nn.Module"),
        (network(end=(nn.Linear(784, 3),)), "784 to 3; expected"),
        (lambda: nn.Linear(100, 784), "go from 100 to 784; expected"),
        (lambda z_dim: models.Generator(z_dim), "cannot be called"),
    ],
)


class Doubled(ListedGenerator):
    def forward(self, z):
        return super().forward(z).double()


NEAR["3.1"] = [
    (Doubled, "returned the type torch.float64; expected torch.float32"),
    (lambda: nn.Sequential(nn.Conv2d(100, 784, 1)), "go from nothing to nothing; expected 100 to 256"),
    (network(end=(nn.ReLU(), *IMAGES)), "There is a ReLU before the end: no pixel could be darker"),
    (Detached, "No gradient reaches the weights"),
    (HalfDetached, "No gradient reaches the weights, or not all"),
    (network(between=lambda: nn.LeakyReLU(0.2), end=IMAGES), "LeakyReLU(0.2): ReLU there"),
    (network(end=IMAGES, after=(lambda: nn.Dropout(0.3),)), "In train mode it gives other images"),
    (network(end=(nn.BatchNorm1d(784), *IMAGES)), "has 1,487,920 parameters; those of the four linear layers are"),
    (network(end=(nn.Tanh(), nn.Unflatten(1, (28, 28, 1)))), "the shape (5, 28, 28, 1); expected (5, 1, 28, 28)"),
]
TO_ONE = (784, 1024, 512, 256, 1)


def judge_of(**changes):
    given = {"widths": TO_ONE, "start": (nn.Flatten(),), "end": (nn.Sigmoid(),), "after": (lambda: nn.Dropout(0.3),)}
    return network(**given | changes)


class FunctionalDiscriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(TO_ONE))

    def forward(self, x):
        x = x.view(len(x), -1)
        for layer in self.linear[:3]:
            x = nn.functional.dropout(layer(x).relu(), 0.3, self.training)
        return self.linear[3](x).sigmoid()


class DropoutFirst(FunctionalDiscriminator):
    """Dropout and ReLU may change places."""

    def forward(self, x):
        x = x.flatten(1)
        for layer in self.linear[:3]:
            x = torch.relu(nn.functional.dropout(layer(x), 0.3, self.training))
        return 1 / (1 + torch.exp(-self.linear[3](x)))


class AlwaysDropping(FunctionalDiscriminator):
    def forward(self, x):
        x = x.flatten(1)
        for layer in self.linear[:3]:
            x = nn.functional.dropout(layer(x).relu(), 0.3)
        return self.linear[3](x).sigmoid()


class DropsColumns(FunctionalDiscriminator):
    """One mask for the whole batch."""

    def forward(self, x):
        x = x.flatten(1)
        for layer in self.linear[:3]:
            x = layer(x).relu()
            x = x * (torch.rand(x.shape[1]) >= 0.3) / 0.7 if self.training else x
        return self.linear[3](x).sigmoid()


class DropsTwice(FunctionalDiscriminator):
    def forward(self, x):
        x = self.linear[0](x.flatten(1)).relu()
        for layer in self.linear[1:3]:
            x = layer(nn.functional.dropout(x, 0.3, self.training)).relu()
        return self.linear[3](x).sigmoid()


class DropsOnce(FunctionalDiscriminator):
    def forward(self, x):
        x = self.linear[0](x.flatten(1)).relu()
        for layer in self.linear[1:3]:
            x = layer(nn.functional.dropout(x, 0.1, self.training)).relu()
        return self.linear[3](x).sigmoid()


CASES["3.2"] = (
    [judge_of(), FunctionalDiscriminator, DropoutFirst, models.Discriminator],
    [
        (judge_of(end=()), "the Sigmoid at the end is missing"),
        (judge_of(end=(nn.Tanh(),)), "At the end is Tanh"),
        (judge_of(after=()), "Dropout(0.3) after each hidden layer is missing"),
        (judge_of(after=(lambda: nn.Dropout(0.5),)), "of the three hidden layers by"),
        (judge_of(after=(lambda: nn.Dropout(0.7),)), "of the three hidden layers by"),
        (judge_of(between=nn.Identity), "No ReLU stands between"),
        (judge_of(widths=(784, 512, 256, 1)), "go from 784 to 512"),
        (judge_of(end=(nn.Sigmoid(), nn.Flatten(0))), "the shape (5,); expected (5, 1)"),
        (judge_of(start=()), "raised RuntimeError"),
    ],
)
NEAR["3.2"] = [
    (judge_of(after=(lambda: nn.Dropout1d(0.3),)), "whole rows are dropped"),
    (judge_of(end=(nn.ReLU(), nn.Sigmoid())), "There is a ReLU before the end: D could never say less"),
    (AlwaysDropping, "is dropout off in eval mode"),
    (DropsColumns, "or it drops the same values of each row"),
    (DropsTwice, "with Dropout(0.3) after each of the three hidden layers by"),
    (DropsOnce, "In train mode the logit of one image varies by"),
    (judge_of(between=lambda: nn.LeakyReLU(0.2)), "LeakyReLU(0.2): ReLU there"),
]


def initialised(
    std=0.02, kinds=(nn.Linear, nn.Conv2d, nn.ConvTranspose2d), scale=1.0, bias=None, norm_bias=True, draw=None
):
    """An answer to exercise 3.5; the defaults give a right one."""
    draw = draw or (lambda weight, mean, std: nn.init.normal_(weight, mean, std))

    def answer(module):
        if isinstance(module, kinds):
            draw(module.weight, 0.0, std)
            if bias is not None and module.bias is not None:
                nn.init.constant_(module.bias, bias)
        elif isinstance(module, nn.BatchNorm2d):
            draw(module.weight, scale, std)
            if norm_bias:
                module.bias.data.zero_()

    return answer


def by_name(module):
    name = type(module).__name__
    if name in ("Linear", "Conv2d", "ConvTranspose2d"):
        module.weight.data.normal_(0, 0.02)
    if name == "BatchNorm2d":
        with torch.no_grad():
            module.weight.copy_(1 + 0.02 * torch.randn(module.weight.shape))
            module.bias.fill_(0)


def by_new_parameters(module):
    if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        module.weight = nn.Parameter(torch.randn_like(module.weight) * 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        module.weight = nn.Parameter(torch.normal(1.0, 0.02, module.weight.shape))
        module.bias = nn.Parameter(torch.zeros_like(module.bias))


EVERYTHING = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding)
CASES["3.5"] = (
    [initialised(), by_name, by_new_parameters, models.weights_init],
    [
        (lambda module: None, "nn.Linear are as PyTorch made them"),
        (initialised(0.02**0.5), "0.02 is the standard deviation, not the variance"),
        (initialised(0.2), "have mean"),
        (initialised(0.0), "They are all alike"),
        (initialised(kinds=(nn.Linear,)), "nn.Conv2d are as PyTorch made them"),
        (initialised(kinds=(nn.Linear, nn.Conv2d)), "nn.ConvTranspose2d are as PyTorch made them"),
        (initialised(scale=0.0), "whose scales lie around 0"),
        (initialised(bias=0.0), "biases of these layers keep PyTorch's default"),
        (lambda module: nn.init.normal_(module.weight, 0, 0.02), "whose scales lie around 0"),
    ],
)


def sum_of_two(weight, mean, std):
    with torch.no_grad():
        weight.copy_(mean + std * 6**0.5 * (torch.rand(weight.shape) + torch.rand(weight.shape) - 1))


def forgets_what_it_measured(module):
    initialised()(module)
    if isinstance(module, nn.BatchNorm2d):
        module.running_var.fill_(0.5)


def norms_to_constants(module):
    initialised()(module) if not isinstance(module, nn.BatchNorm2d) else nn.init.zeros_(module.bias)


NEAR["3.5"] = [
    (norms_to_constants, "nn.BatchNorm2d are as PyTorch made them: draw them"),
    (initialised(draw=sum_of_two), "not drawn from a normal"),
    (
        initialised(draw=lambda w, mean, std: nn.init.uniform_(w, mean - std * 3**0.5, mean + std * 3**0.5)),
        "not drawn from a normal",
    ),
    (forgets_what_it_measured, "what nn.BatchNorm2d has measured"),
    (initialised(norm_bias=False), "The bias of BatchNorm2d must be 0"),
    (initialised(kinds=EVERYTHING), "You change an nn.Embedding"),
    (initialised(kinds=(*EVERYTHING[:3], nn.BatchNorm1d)), "You change an nn.BatchNorm1d"),
    (lambda module: (torch.manual_seed(0), initialised()(module))[0], "sets the random seed"),
    (lambda module: initialised()(module.requires_grad_(False)), "changes requires_grad of module"),
]
