"""Right and wrong answers to the exercises of notebook 06."""

import copy
import math

import torch

from labutils.models import sample

CASES = {}  # number -> (right answers, wrong ones with their sentences)


def size_by_module(size, kernel, stride, padding):
    layer = torch.nn.ConvTranspose2d(1, 1, kernel, stride, padding, device="meta")
    return layer(torch.empty(1, 1, size, size, device="meta")).shape[-1]


CASES["6.1"] = (
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


CASES["6.2"] = (
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


CASES["6.3"] = (
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
