"""Known faults, made of real images, to see which number sees them."""

import torch
import torch.nn.functional as F
from torch import Tensor

from labutils.data import load_mnist
from labutils.quality.classifier import check_real


def defects(count: int = 10_000) -> dict[str, Tensor]:
    """`count` images (N, 1, 28, 28) of each fault; the source says beside each which numbers must see it.

    Made of test images, repeated where they are too few; the copies are training images.
    """
    real, labels = load_mnist("test")
    check_real(load_mnist(), load_mnist("test"))

    def some(images: Tensor) -> Tensor:
        return images[torch.arange(count) % len(images)]

    x, each = some(real), torch.cat([real[labels == digit][4:5] for digit in range(10)])
    noise, chance = torch.rand(2, *x.shape, generator=torch.Generator().manual_seed(0))
    noise = noise * 2 - 1
    half = (torch.arange(count) % 2 == 0).view(-1, 1, 1, 1)
    means = F.avg_pool2d(F.pad(x, (2, 2, 2, 2), value=-1.0), 5, stride=1)  # of 5 x 5 pixels
    return {
        "noise": noise,  # precision and density go to 0
        "one digit": some(real[labels == 7]),  # kl goes to ln 10, recall to 0
        "one image": some(real[:1]),  # distinct; coverage and recall go to 0, precision may well be 1
        "ten images": some(each),  # coverage and recall go to 0; shares are even: all variety within a class is missing
        "five digits": some(real[labels < 5]),  # kl goes to ln 2, coverage to half
        "half ones": torch.where(half, some(real[labels == 1]), x),  # shares; every digit is there, all in full variety
        "half noise": torch.where(half, noise, x),  # precision and density halve; recall stays
        "dots": torch.where(chance < 0.1, noise.sign(), x),  # density; a tenth of the pixels black or white
        "erased": x.masked_fill(chance < 0.3, -1.0),  # density, confident; three tenths of the pixels black
        "blurred": means,  # confident, density
        "shifted": x.roll(3, dims=2),  # the Fréchet distance, density; each for itself is a perfect digit
        "drawn twice": some(real[: count // 2]),  # distinct 0.5, coverage a little
        "copies": some(load_mnist().images),  # memorisation goes to 0, nothing else moves
    }
