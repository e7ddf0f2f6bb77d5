"""The networks of the lab and their initialisation. x: images in [-1, 1]; z: prior noise ~ N(0, I).

MLP GAN: Goodfellow et al. 2014. Transposed convolutions with batch normalisation: DCGAN, Radford et al. 2016.
"""

import inspect

import torch
from torch import Tensor, nn

from labutils.engine.layers import Conv2d, ConvTranspose2d, Dropout, Flatten, Linear, Unflatten
from labutils.engine.settings import checked_images, checked_noise

IMAGE = (1, 28, 28)
MAX_Z_DIM = 10_000


class Generator(nn.Module):
    """The MLP generator: z (N, z_dim) -> images (N, 1, 28, 28) in (-1, 1)."""

    def __init__(self, z_dim: int = 100):
        super().__init__()
        self.z_dim = z_dim
        self.layers = nn.Sequential(
            Linear(z_dim, 256),
            nn.ReLU(),
            Linear(256, 512),
            nn.ReLU(),
            Linear(512, 1024),
            nn.ReLU(),
            Linear(1024, 784),
            nn.Tanh(),
            nn.Unflatten(1, IMAGE),  # (N, 1, 28, 28)
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(checked_noise(z, self))


class Discriminator(nn.Module):
    """The MLP discriminator: images (N, 1, 28, 28) -> D(x), the probability (N, 1) that x is real."""

    def __init__(self, dropout: float = 0.3):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),  # (N, 784)
            Linear(784, 1024),
            nn.ReLU(),
            Dropout(dropout),
            Linear(1024, 512),
            nn.ReLU(),
            Dropout(dropout),
            Linear(512, 256),
            nn.ReLU(),
            Dropout(dropout),
            nn.Linear(256, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(checked_images(x, self))

    def logits(self, x: Tensor) -> Tensor:
        """D before its sigmoid, (N, 1): what the losses take."""
        return self.layers[:-1](checked_images(x, self))


class DCGenerator(nn.Module):
    """The convolutional generator: z (N, z_dim) -> images (N, 1, 28, 28) in (-1, 1)."""

    def __init__(self, z_dim: int = 100, batch_norm: bool = True):
        super().__init__()
        self.z_dim = z_dim
        self.layers = nn.Sequential(
            nn.Linear(z_dim, 128 * 7 * 7),
            nn.BatchNorm1d(128 * 7 * 7) if batch_norm else nn.Identity(),
            nn.ReLU(inplace=True),
            Unflatten(1, (128, 7, 7)),
            ConvTranspose2d(128, 64, kernel_size=4, stride=2, padding=1),  # (N, 64, 14, 14)
            nn.BatchNorm2d(64) if batch_norm else nn.Identity(),
            nn.ReLU(inplace=True),
            ConvTranspose2d(64, 1, kernel_size=4, stride=2, padding=1),  # (N, 1, 28, 28)
            nn.Tanh(),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(checked_noise(z, self))


class HybridGenerator(nn.Module):
    """Two layers of an MLP, then DCGAN's way up with few channels: z (N, z_dim) -> images (N, 1, 28, 28) in (-1, 1)."""

    def __init__(self, z_dim: int = 100):
        super().__init__()
        self.z_dim = z_dim
        self.layers = nn.Sequential(
            Linear(z_dim, 1024),
            nn.BatchNorm1d(1024),
            nn.ReLU(inplace=True),
            Linear(1024, 16 * 7 * 7),
            nn.BatchNorm1d(16 * 7 * 7),
            nn.ReLU(inplace=True),
            Unflatten(1, (16, 7, 7)),
            ConvTranspose2d(16, 32, kernel_size=4, stride=2, padding=1),  # (N, 32, 14, 14)
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            ConvTranspose2d(32, 1, kernel_size=4, stride=2, padding=1),  # (N, 1, 28, 28)
            nn.Tanh(),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(checked_noise(z, self))


class DCDiscriminator(nn.Module):
    """The usual mirror image of DCGenerator: images (N, 1, 28, 28) -> D(x), the probability (N, 1) that x is real."""

    def __init__(self, batch_norm: bool = True):
        super().__init__()
        self.layers = nn.Sequential(
            Conv2d(1, 64, kernel_size=4, stride=2, padding=1),  # (N, 64, 14, 14)
            nn.LeakyReLU(0.2, inplace=True),
            Conv2d(64, 128, kernel_size=4, stride=2, padding=1),  # (N, 128, 7, 7)
            nn.BatchNorm2d(128) if batch_norm else nn.Identity(),
            nn.LeakyReLU(0.2, inplace=True),
            Flatten(),  # (N, 6272)
            nn.Linear(128 * 7 * 7, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(checked_images(x, self))

    def logits(self, x: Tensor) -> Tensor:
        """D before its sigmoid, (N, 1): what the losses take."""
        return self.layers[:-1](checked_images(x, self))


def weights_init(module: nn.Module) -> None:
    """The original report's initialisation, for `network.apply(weights_init)`: N(0, 0.02), BatchNorm2d N(1, 0.02).

    Conv2d, ConvTranspose2d and Linear keep PyTorch's default bias; BatchNorm2d gets bias 0 (Radford et al. 2016).
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


MODELS = {
    "mlp": (Generator, Discriminator),
    "dcgan": (DCGenerator, DCDiscriminator),
    "hybrid": (HybridGenerator, Discriminator),
}
INITIALISATIONS = ("weights_init", "default")  # the original report's, PyTorch's own
BATCH_NORM = {"both": (True, True), "generator": (True, False), "none": (False, False)}  # in (DCGAN's G, its D)


def build(
    model: str,
    z_dim: int = 100,
    init: str = "weights_init",
    *,
    discriminator: str | None = None,
    batch_norm: str = "both",
    dropout: float = 0.3,
    spectral_norm: bool = False,
) -> tuple[nn.Module, nn.Module]:
    """A new (generator, discriminator) pair.

    Args:
        model: "mlp" or "dcgan", which both networks are of, or "hybrid", whose D is the MLP's.
        init: "weights_init" or "default" (PyTorch's).
        discriminator: "mlp" or "dcgan", if not that of `model`.
        batch_norm: where DCGAN has it: "both" networks, "generator" or "none". The MLPs have none, the hybrid always.
        dropout: share of the units of the MLP's D that a step leaves out (Srivastava et al. 2014); DCGAN has none.
        spectral_norm: divide each weight of the discriminator by its largest singular value (Miyato et al. 2018).
    """
    discriminator = model if discriminator is None else discriminator
    named = [(model, MODELS, "model"), (discriminator, MODELS, "model"), (init, INITIALISATIONS, "initialisation")]
    for value, known, what in [*named, (batch_norm, BATCH_NORM, "batch_norm")]:
        if value not in [*known]:
            raise ValueError(f"There is no {what} {value!r}; use one of {', '.join(map(repr, known))}.")
    of_g, of_d = BATCH_NORM[batch_norm]
    new_g, new_d = MODELS[model][0], MODELS[discriminator][1]
    pair = (  # only DCGAN's networks take a batch_norm, only the MLP's D a dropout
        new_g(z_dim, of_g) if new_g is DCGenerator else new_g(z_dim),
        new_d(of_d) if new_d is DCDiscriminator else new_d(dropout),
    )
    if init == "weights_init":
        for network in pair:
            network.apply(weights_init)
    if spectral_norm:  # after weights_init, which would draw the normalised weights
        for layer in pair[1].modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.utils.parametrizations.spectral_norm(layer)
    return pair


NETWORK_SETTINGS = tuple(inspect.signature(build).parameters)  # what of a TrainConfig decides the networks


def count_parameters(network: nn.Module) -> int:
    """The number of trainable values in a network."""
    return sum(p.numel() for p in network.parameters())


@torch.no_grad()
def sample(generator: nn.Module, z: Tensor) -> Tensor:
    """Images (N, 1, 28, 28) for z (N, z_dim), in eval mode and without gradients; the generator's mode is restored."""
    was_training = generator.training
    generator.eval()
    try:
        return generator(z)
    finally:
        generator.train(was_training)
