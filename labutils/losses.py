"""The losses of the game as pure functions: D's logits (N, 1) in, a scalar out. D(x) = sigmoid(logit).

Equations: Goodfellow et al. 2014, "Generative Adversarial Nets", equation 1 and section 3; each remedy names its paper.
All logarithms are natural.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

SATURATED = 15.0  # beyond this logit, sigmoid is within 3e-7 of 0 or 1 and float32 begins to lose it


def _full_precision(logits: Tensor) -> torch.autocast:
    """CUDA refuses binary_cross_entropy under autocast, where half precision would saturate sooner."""
    return torch.autocast(logits.device.type, enabled=False)


def bce(logits: Tensor, target: float) -> Tensor:
    """Binary cross-entropy of sigmoid(logits) against `target` in [0, 1], mean over the batch; (N, 1) -> scalar.

    Where the sigmoid is not saturated this is nn.Sigmoid and nn.BCELoss, to the last bit of the gradient. Where it is,
    that pair clamps its logarithm at -100 and passes no gradient back; nn.BCEWithLogitsLoss, the same function, does.
    """
    logits = logits.float()
    labels = torch.full_like(logits, target)
    safe = logits.detach().abs() < SATURATED
    with _full_precision(logits):
        plain = F.binary_cross_entropy(torch.sigmoid(logits.where(safe, 0)), labels, reduction="none")
    stable = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return torch.where(safe, plain, stable).mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """L_D = -E[log D(x)] - E[log(1 - D(G(z)))], the two terms summed; 2 ln 2 = 1.386 where D says 1/2 everywhere."""
    return bce(real_logits, 1) + bce(fake_logits, 0)


def generator_loss(fake_logits: Tensor) -> Tensor:
    """The non-saturating L_G = -E[log D(G(z))]; ln 2 = 0.693 where D says 1/2. Its gradient is largest at D near 0."""
    return bce(fake_logits, 1)


def saturating_generator_loss(fake_logits: Tensor) -> Tensor:
    """The minimax L_G = E[log(1 - D(G(z)))]; -ln 2 where D says 1/2. Its gradient vanishes where D is near 0."""
    return -bce(fake_logits, 0)


def sigmoid_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """L_D as nn.Sigmoid and nn.BCELoss compute it; passes no gradient back once D is certain. For comparison only."""
    real, fake = torch.sigmoid(real_logits.float()), torch.sigmoid(fake_logits.float())
    with _full_precision(real_logits):
        of_real = F.binary_cross_entropy(real, torch.ones_like(real))
        return of_real + F.binary_cross_entropy(fake, torch.zeros_like(fake))


def sigmoid_generator_loss(fake_logits: Tensor) -> Tensor:
    """The non-saturating L_G as nn.Sigmoid and nn.BCELoss compute it. For comparison only."""
    fake = torch.sigmoid(fake_logits.float())
    with _full_precision(fake_logits):
        return F.binary_cross_entropy(fake, torch.ones_like(fake))


def smoothed_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """L_D with one-sided label smoothing: 0.9 in place of 1 for real images (Salimans et al. 2016, section 3.4)."""
    return bce(real_logits, 0.9) + bce(fake_logits, 0)


def hinge_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))], D without sigmoid (Lim and Ye 2017; Miyato et al. 2018, eq. 16)."""
    return F.relu(1 - real_logits.float()).mean() + F.relu(1 + fake_logits.float()).mean()


def least_squares_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """LSGAN (Mao et al. 2017, eq. 8): real images are to get the logit 1, fakes -1."""
    return ((real_logits.float() - 1) ** 2).mean() / 2 + ((fake_logits.float() + 1) ** 2).mean() / 2


def least_squares_generator_loss(fake_logits: Tensor) -> Tensor:
    """LSGAN (Mao et al. 2017, eq. 8): fakes are to get the logit 0, half way; this minimises a chi-square distance."""
    return (fake_logits.float() ** 2).mean() / 2


def critic_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """WGAN (Arjovsky et al. 2017, eq. 2): E[D(G(z))] - E[D(x)]; -1 times it estimates a Wasserstein distance.

    It needs a D with a bounded slope: clipped weights, a gradient penalty or spectral normalisation.
    """
    return fake_logits.float().mean() - real_logits.float().mean()


def linear_generator_loss(fake_logits: Tensor) -> Tensor:
    """-E[D(G(z))], D without sigmoid: of WGAN (Arjovsky et al. 2017) and of the hinge loss."""
    return -fake_logits.float().mean()


def r1_penalty(logits: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """E[|grad D(x)|^2] / 2 on real images (N, 1, 28, 28) (Mescheder et al. 2018, eq. 9): D is flat on data."""
    real = real.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(logits(real).sum(), real, create_graph=True)  # (N, 1, 28, 28)
    return gradient.float().flatten(1).square().sum(1).mean() / 2


def gradient_penalty(logits: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
    """E[(|grad D(x)| - 1)^2] at random points between real and fake (WGAN-GP, Gulrajani et al. 2017, eq. 3)."""
    between = torch.lerp(real, fake.detach().float(), torch.rand(len(real), 1, 1, 1, device=real.device))
    between.requires_grad_()
    (gradient,) = torch.autograd.grad(logits(between).sum(), between, create_graph=True)  # (N, 1, 28, 28)
    return (gradient.float().flatten(1).norm(dim=1) - 1).square().mean()


# TrainConfig.loss -> (loss of D, loss of G)
LOSSES = {
    "nonsaturating": (discriminator_loss, generator_loss),
    "saturating": (discriminator_loss, saturating_generator_loss),
    "sigmoid_bce": (sigmoid_discriminator_loss, sigmoid_generator_loss),
    "smoothed": (smoothed_discriminator_loss, generator_loss),
    "hinge": (hinge_discriminator_loss, linear_generator_loss),
    "lsgan": (least_squares_discriminator_loss, least_squares_generator_loss),
    "wasserstein": (critic_loss, linear_generator_loss),
}
