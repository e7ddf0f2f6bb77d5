"""The networks, and their initialisation, against values that are known without them."""

import itertools
import math

import pytest
import torch
from torch import nn

from labutils import models
from labutils.models import build, count_parameters, sample, weights_init

EACH_INIT = pytest.mark.parametrize("init", ["weights_init", "default"])
EACH_MODEL = pytest.mark.parametrize("model", list(models.MODELS))


def mlp_size(*widths):
    return sum((a + 1) * b for a, b in itertools.pairwise(widths))


SIZES = {
    models.Generator: mlp_size(100, 256, 512, 1024, 784),
    models.Discriminator: mlp_size(784, 1024, 512, 256, 1),
    # linear, its batch norm, transposed convolution 128 -> 64, its batch norm, transposed convolution 64 -> 1
    models.DCGenerator: 101 * 6272 + 2 * 6272 + (128 * 64 * 16 + 64) + 2 * 64 + (64 * 16 + 1),
    # two linears, each with its batch norm, transposed convolutions 16 -> 32 (with its batch norm) and 32 -> 1
    models.HybridGenerator: 103 * 1024 + 1027 * 784 + (16 * 32 * 16 + 32) + 2 * 32 + (32 * 16 + 1),
    # convolution 1 -> 64, convolution 64 -> 128, its batch norm, linear
    models.DCDiscriminator: (64 * 16 + 64) + (64 * 128 * 16 + 128) + 2 * 128 + (6272 + 1),
}


@pytest.mark.parametrize("network", SIZES)
def test_number_of_parameters(network):
    assert count_parameters(network()) == SIZES[network]


def test_the_two_numbers_of_the_notebook():
    assert (SIZES[models.Generator], SIZES[models.Discriminator]) == (1_486_352, 1_460_225)


@EACH_INIT
@EACH_MODEL
def test_shapes_and_ranges(model, init):
    torch.manual_seed(0)
    generator, discriminator = build(model, z_dim=7, init=init)
    for count in (2, 5):
        images = generator(torch.randn(count, 7))
        assert images.shape == (count, 1, 28, 28)
        assert images.abs().max() <= 1  # Tanh itself stays below 1; float32 rounds it
        verdict = discriminator(images)
        assert verdict.shape == (count, 1)
        assert ((verdict > 0) & (verdict < 1)).all()
    assert sample(generator, torch.randn(1, 7)).shape == (1, 1, 28, 28)


@EACH_MODEL
def test_forward_is_the_sigmoid_of_logits(model):
    discriminator = build(model)[1].eval()
    x = torch.rand(4, 1, 28, 28) * 2 - 1
    assert torch.equal(discriminator(x), discriminator.logits(x).sigmoid())


def test_without_dropout_the_mlps_d_sees_with_all_its_units():
    x = torch.rand(4, 1, 28, 28)
    for dropout, same in ((0, True), (0.3, False)):
        discriminator = build("hybrid", dropout=dropout)[1]
        assert torch.equal(discriminator.logits(x), discriminator.logits(x)) == same


@EACH_INIT
def test_a_new_pair_knows_nothing(init):
    torch.manual_seed(0)
    generator, discriminator = build("mlp", init=init)
    images = sample(generator, torch.randn(100, 100))
    assert images.mean().abs() < 0.02
    assert images.std() < 0.1
    assert (discriminator(images) - 0.5).abs().max() < 0.1


@EACH_MODEL
def test_weights_init_draws_what_it_says(model):
    torch.manual_seed(0)
    pair = build(model, init="default")
    before = [{name: value.clone() for name, value in network.state_dict().items()} for network in pair]
    for network, old in zip(pair, before, strict=True):
        network.apply(weights_init)
        for name, layer in network.named_modules():
            if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                error = 4 * 0.02 / math.sqrt(layer.weight.numel())  # four standard errors of the mean
                assert abs(layer.weight.mean()) < error
                assert abs(layer.weight.std() - 0.02) < error
                assert torch.equal(layer.bias, old[f"{name}.bias"])
            elif isinstance(layer, nn.BatchNorm2d):
                assert abs(layer.weight.mean() - 1) < 4 * 0.02 / math.sqrt(layer.weight.numel())
                assert 0.01 < layer.weight.std() < 0.03
                assert torch.equal(layer.bias, torch.zeros_like(layer.bias))
            elif isinstance(layer, nn.BatchNorm1d):
                assert torch.equal(layer.weight, torch.ones_like(layer.weight))
    torch.manual_seed(0)
    for built, applied in zip(build(model), pair, strict=True):
        assert all(torch.equal(value, applied.state_dict()[name]) for name, value in built.state_dict().items())


def test_weights_init_sets_the_bias_of_batch_norm_to_zero():
    layer = nn.BatchNorm2d(8)
    nn.init.ones_(layer.bias)
    weights_init(layer)
    assert torch.equal(layer.bias, torch.zeros(8))


def test_default_init_is_pytorchs():
    torch.manual_seed(0)
    layer = build("mlp", init="default")[0].layers[0]
    torch.manual_seed(0)
    assert torch.equal(layer.weight, nn.Linear(100, 256).weight)


@pytest.mark.parametrize(("name", "kind"), [("gan", "model"), ("weights", "initialisation")])
def test_unknown_names(name, kind):
    with pytest.raises(ValueError, match=f"There is no {kind} {name!r}; use "):
        build(name) if kind == "model" else build("mlp", init=name)


@pytest.mark.parametrize("shape", [(8, 64), (100,), (8, 100, 1), (100, 8), ()])
@EACH_MODEL
def test_noise_of_a_wrong_shape(model, shape):
    generator = build(model)[0]
    with pytest.raises(ValueError, match=r"takes z of shape \(N, 100\) but got .*torch.randn\(N, 100\)") as caught:
        generator(torch.zeros(shape))
    assert f"got {shape};" in str(caught.value)


@pytest.mark.parametrize("shape", [(8, 784), (1, 28, 28), (28, 28), (8, 28, 28, 1), (8, 3, 28, 28), (8, 1, 27, 27)])
@EACH_MODEL
def test_images_of_a_wrong_shape(model, shape):
    discriminator = build(model)[1]
    for call in (discriminator, discriminator.logits):
        with pytest.raises(ValueError, match=r"takes images of shape \(N, 1, 28, 28\) but got .*reshape") as caught:
            call(torch.zeros(shape))
        assert f"got {shape};" in str(caught.value)


@EACH_MODEL
def test_sample_restores_the_mode_and_keeps_the_statistics(model):
    torch.manual_seed(0)
    generator = build(model)[0]
    z = torch.randn(4, 100)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    for training in (True, False):
        generator.train(training)
        images = sample(generator, z)
        assert not images.requires_grad
        assert [module.training for module in generator.modules()] == [training] * len(list(generator.modules()))
        # in eval mode an image does not depend on the others of its batch, but for the order of float sums
        torch.testing.assert_close(images[:1], sample(generator, z[:1]), rtol=0, atol=1e-6)
        with pytest.raises(ValueError, match="takes z of shape"):
            sample(generator, z[:, :5])
        assert generator.training == training
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())


@pytest.mark.parametrize("model", ["mlp", "dcgan", "hybrid"])
def test_input_of_another_type_gets_a_sentence(model):
    generator, discriminator = models.build(model)
    z, x = torch.randn(4, 100), torch.zeros(4, 1, 28, 28)
    for other in (z.double(), z.half(), z.long()):
        with pytest.raises(
            ValueError, match=r"z of torch.float32 on cpu.* but got torch\..*; try \.to\('cpu', torch.float32"
        ):
            models.sample(generator, other)
    for other in (x.double(), x.byte(), x.to("meta")):
        for ask in (discriminator, discriminator.logits):
            with pytest.raises(ValueError, match=r"images of torch.float32 on cpu, as its weights are, but got"):
                ask(other)
    for other in (z.numpy(), z.tolist(), None):
        with pytest.raises(ValueError, match=r"takes z of shape \(N, 100\), a tensor, but got a "):
            generator(other)
    with torch.autocast("cpu", torch.bfloat16):
        assert discriminator(generator(z)).shape == (4, 1)
    assert generator.double()(z.double()).dtype == torch.float64
