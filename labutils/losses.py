"""The losses of the game as pure functions: D's logits (N, 1) in, a scalar out. D(x) = sigmoid(logit).

Equations: Goodfellow et al. 2014, "Generative Adversarial Nets", equation 1 and section 3. All logarithms are natural.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

SATURATED = 15.0  # beyond this logit, sigmoid is within 3e-7 of 0 or 1 and float32 begins to lose it


def bce(logits: Tensor, target: float) -> Tensor:
    """Binary cross-entropy of sigmoid(logits) against `target` (0 or 1), mean over the batch; (N, 1) -> scalar.

    Where the sigmoid is not saturated this is nn.Sigmoid and nn.BCELoss, to the last bit of the gradient. Where it is,
    that pair clamps its logarithm at -100 and passes no gradient back; nn.BCEWithLogitsLoss, the same function, does.
    """
    logits = logits.float()
    labels = torch.full_like(logits, target)
    safe = logits.detach().abs() < SATURATED
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
    return F.binary_cross_entropy(real, torch.ones_like(real)) + F.binary_cross_entropy(fake, torch.zeros_like(fake))


def sigmoid_generator_loss(fake_logits: Tensor) -> Tensor:
    """The non-saturating L_G as nn.Sigmoid and nn.BCELoss compute it. For comparison only."""
    fake = torch.sigmoid(fake_logits.float())
    return F.binary_cross_entropy(fake, torch.ones_like(fake))


# TrainConfig.loss -> (loss of D, loss of G)
LOSSES = {
    "nonsaturating": (discriminator_loss, generator_loss),
    "saturating": (discriminator_loss, saturating_generator_loss),
    "sigmoid_bce": (sigmoid_discriminator_loss, sigmoid_generator_loss),
}
