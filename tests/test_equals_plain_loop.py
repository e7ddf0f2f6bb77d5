"""Training here is the original report's own plain loop: Sigmoid, BCELoss, Adam."""

import pytest
import torch
from torch import nn

from labutils.models import build
from labutils.training import TrainConfig, train

STEPS, BATCH = {"mlp": 20, "dcgan": 5}, 128  # a step of DCGAN takes several times as long


def plain_loop(model: str, images: torch.Tensor, init: str) -> dict[str, torch.Tensor]:
    """The original report's loop as printed, on the same seed and the same order of the images."""
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


@pytest.fixture
def one_thread():
    """For both loops: with several, sums are cut up otherwise, and the last bit may differ."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.thorough
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("init", ["weights_init", "default"])
@pytest.mark.parametrize("model", ["mlp", "dcgan"])
def test_some_steps_give_the_same_parameters_to_the_last_bit(model, init, digits, tmp_path):
    images = digits.images[: STEPS[model] * BATCH]
    config = TrainConfig(model=model, epochs=1, init=init, precision="float32", device="cpu", threads=1)
    run = train(config, tmp_path / "run", images=images, progress=False)
    networks = {"generator": run.generator(), "discriminator": run.discriminator()}
    ours = {f"{name}.{key}": value for name, net in networks.items() for key, value in net.state_dict().items()}
    plain = plain_loop(model, images, init)
    assert ours.keys() == plain.keys()
    assert [key for key, value in plain.items() if not torch.equal(ours[key], value)] == []
