"""Training here is the report's own plain loop: Sigmoid, BCELoss, Adam, nothing else."""

import pytest
import torch
from torch import nn

from labutils.models import build
from labutils.training import TrainConfig, train

STEPS, BATCH = 20, 128


def plain_loop(model: str, images: torch.Tensor, init: str) -> dict[str, torch.Tensor]:
    """The report's loop as printed, on the same seed and the same order of the images."""
    torch.manual_seed(0)
    torch.randn(64, 100)  # the fixed noise
    generator, discriminator = build(model, 100, init)
    g_optimizer = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    d_optimizer = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    criterion = nn.BCELoss()
    order = torch.randperm(len(images))
    for start in range(0, len(images), BATCH):
        real = images[order[start : start + BATCH]]
        real_label, fake_label = torch.ones(len(real), 1), torch.zeros(len(real), 1)
        fake = generator(torch.randn(len(real), 100))
        d_loss = criterion(discriminator(real), real_label) + criterion(discriminator(fake.detach()), fake_label)
        d_optimizer.zero_grad()
        d_loss.backward()
        d_optimizer.step()
        g_loss = criterion(discriminator(fake), real_label)
        g_optimizer.zero_grad()
        g_loss.backward()
        g_optimizer.step()
    networks = {"generator": generator, "discriminator": discriminator}
    return {f"{name}.{key}": value for name, net in networks.items() for key, value in net.state_dict().items()}


@pytest.mark.parametrize("init", ["weights_init", "default"])
@pytest.mark.parametrize("model", ["mlp", "dcgan"])
def test_twenty_steps_give_the_same_parameters(model, init, digits, tmp_path):
    images = digits.images[: STEPS * BATCH]
    config = TrainConfig(model=model, epochs=1, init=init, precision="float32", device="cpu")
    run = train(config, tmp_path / "run", images=images, progress=False)
    networks = {"generator": run.generator(), "discriminator": run.discriminator()}
    ours = {f"{name}.{key}": value for name, net in networks.items() for key, value in net.state_dict().items()}
    plain = plain_loop(model, images, init)
    assert ours.keys() == plain.keys()
    for key, value in plain.items():
        torch.testing.assert_close(ours[key], value, rtol=0, atol=1e-6, msg=lambda text, key=key: f"{key}: {text}")
