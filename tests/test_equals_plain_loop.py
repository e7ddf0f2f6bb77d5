"""Training here is the report's own plain loop (Sigmoid, BCELoss, Adam), its layers are those of torch.nn."""

import copy

import pytest
import torch
from torch import nn

from labutils import models
from labutils.models import Dropout, Linear, build
from labutils.training import TrainConfig, train

STEPS, BATCH = {"mlp": 20, "dcgan": 5}, 128  # a step of DCGAN takes several times as long


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


@pytest.fixture
def one_thread():
    """For both loops: with several, sums are cut up otherwise, and the last bit may differ."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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


def plain_layers(network: nn.Module) -> nn.Sequential:
    """The same network of torch.nn's own layers, in torch.nn's own memory layout."""

    def plain(layer):
        if isinstance(layer, nn.Linear):
            return copied(nn.Linear(layer.in_features, layer.out_features), layer)
        if isinstance(layer, nn.Unflatten):
            return nn.Unflatten(layer.dim, layer.unflattened_size)
        if isinstance(layer, nn.Flatten):
            return nn.Flatten()
        return copy.deepcopy(layer)

    def copied(new, old):
        new.to(old.weight.dtype).load_state_dict(old.state_dict())
        return new

    return nn.Sequential(*map(plain, network.layers)).to(memory_format=torch.contiguous_format)


@pytest.mark.parametrize("size", [32, 64, 128])  # from 64 on, oneDNN multiplies
@pytest.mark.parametrize("model", ["mlp", "dcgan"])
def test_networks_give_what_their_plain_layers_give(model, size):
    torch.manual_seed(1)
    generator, discriminator = build(model, init="default")
    inputs = torch.randn(size, 100), torch.rand(size, 1, 28, 28) * 2 - 1
    # float64 where a batch norm would scale rounding up; oneDNN's product is for float32
    dtype, tolerance = (torch.float64, 1e-9) if model == "dcgan" else (torch.float32, 1e-5)
    for network, x in zip((generator, discriminator), inputs, strict=True):
        network, x = network.to(dtype), x.to(dtype)
        for layer in network.layers:
            if isinstance(layer, nn.Dropout):
                layer.p = 0.0
        plain = plain_layers(network)
        assert not any(type(layer).__module__.startswith("labutils") for layer in plain if type(layer) is not Dropout)
        results = []
        for net in (network, plain):
            given = x.clone().requires_grad_()
            out = net(given)
            (slope,) = torch.autograd.grad(out.sum(), given, create_graph=True)
            penalty = (slope**2).sum()  # as in a gradient penalty: a gradient of a gradient
            second = torch.autograd.grad(penalty, list(net.parameters()), retain_graph=True, allow_unused=True)
            first = torch.autograd.grad((out**2).sum(), list(net.parameters()))
            results.append([out, slope, *first, *(g for g in second if g is not None)])
        for ours, theirs in zip(*results, strict=True):
            scale = float(theirs.detach().abs().max())
            torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance * max(scale, 1.0))


@pytest.mark.parametrize("kind", ["float64", "meta", "gradient of a function", "export"])
def test_what_comes_first_in_a_process_does_not_decide_which_product_is_taken(kind):
    if not models._has_onednn():
        pytest.skip("this PyTorch has no oneDNN")
    models._has_onednn.cache_clear()
    layer, x = Linear(20, 30), torch.randn(80, 20)
    if kind == "float64":
        torch.set_default_dtype(torch.float64)
        layer(x)
        torch.set_default_dtype(torch.float32)
    elif kind == "meta":
        with torch.device("meta"):
            layer(x)
    elif kind == "export":
        product = torch.export.export(layer, (x,)).module()(x)
        assert torch.equal(product, nn.functional.linear(x, layer.weight, layer.bias))
    else:
        torch.func.grad(lambda y: models._has_onednn() * y.sum())(x)
    assert models._has_onednn()


@pytest.mark.filterwarnings("ignore")
def test_linear_can_be_traced():
    layer, x = Linear(20, 30), torch.randn(80, 20)
    torch.testing.assert_close(torch.jit.trace(layer, x)(x), layer(x))


def test_linear_is_plain_where_onednn_has_no_product(monkeypatch):
    layer, x = Linear(20, 30), torch.randn(80, 20)
    monkeypatch.setattr(models, "_has_onednn", lambda: False)
    assert torch.equal(layer(x), nn.functional.linear(x, layer.weight, layer.bias))
