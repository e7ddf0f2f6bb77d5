"""The four networks, their initialisation and their dropout, against values that are known without them."""

import itertools
import math

import pytest
import torch
from torch import nn

from labutils import models
from labutils.models import Dropout, build, count_parameters, sample, weights_init

EACH_INIT = pytest.mark.parametrize("init", ["weights_init", "default"])
EACH_MODEL = pytest.mark.parametrize("model", ["mlp", "dcgan"])


def mlp_size(*widths):
    return sum((a + 1) * b for a, b in itertools.pairwise(widths))


SIZES = {
    models.Generator: mlp_size(100, 256, 512, 1024, 784),
    models.Discriminator: mlp_size(784, 1024, 512, 256, 1),
    # linear, its batch norm, transposed convolution 128 -> 64, its batch norm, transposed convolution 64 -> 1
    models.DCGenerator: 101 * 6272 + 2 * 6272 + (128 * 64 * 16 + 64) + 2 * 64 + (64 * 16 + 1),
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


# Dropout. A share of n independent draws has standard deviation sqrt(p (1 - p) / n); five of them are allowed.


@pytest.mark.parametrize("p", [0.001, 0.1, 0.3, 0.5, 0.9, 0.999])
def test_dropout_rate(p):
    torch.manual_seed(0)
    out = Dropout(p)(torch.ones(1000, 1000))
    assert abs((out == 0).double().mean() - p) < 5 * math.sqrt(p * (1 - p) / 1e6) + 1 / 65536
    assert abs(out.double().mean() - 1) < 5 * math.sqrt(p / (1 - p) / 1e6)


@pytest.mark.parametrize("p", [0.3, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_dropout_scale_is_exact(p, dtype):
    out = Dropout(p)(torch.ones(1000, dtype=dtype))
    kept = 65536 - round(p * 65536)
    assert out.dtype == dtype
    assert set(out.unique().tolist()) == {0.0, torch.tensor(65536 / kept, dtype=dtype).item()}


def test_dropout_units_are_independent():
    torch.manual_seed(0)
    kept = (Dropout(0.3)(torch.ones(20_000, 64)) != 0).double()
    bound = 5.5 / math.sqrt(20_000)  # 4,096 correlations: a larger one occurs once in 6,000 runs
    between_units = torch.corrcoef(kept.T) - torch.eye(64)
    assert between_units.abs().max() < bound
    # four units share a random word: also no dependence between any two of the four, or with the next word
    flat = kept.flatten()
    for lag in range(1, 9):
        assert torch.corrcoef(torch.stack([flat[:-lag], flat[lag:]]))[0, 1].abs() < 5.5 / math.sqrt(len(flat))


def test_dropout_steps_and_seeds_are_independent():
    dropout, x = Dropout(0.3), torch.ones(1000, 100)
    masks = []
    for seed in (0, 1, 2):
        torch.manual_seed(seed)
        masks += [(dropout(x) != 0).double().flatten() for _ in range(3)]
    between = torch.corrcoef(torch.stack(masks)) - torch.eye(9)
    assert between.abs().max() < 5 / math.sqrt(x.numel())


def test_dropout_takes_its_bits_from_the_random_words_in_order():
    torch.manual_seed(0)
    out = Dropout(0.3)(torch.ones(10))
    torch.manual_seed(0)
    words = torch.empty(3, dtype=torch.int64).random_(-(2**63), None).tolist()
    numbers = [(words[unit // 4] >> 16 * (unit % 4)) & 0xFFFF for unit in range(10)]
    signed = [number - 65536 if number >= 32768 else number for number in numbers]
    assert (out != 0).tolist() == [number >= round(0.3 * 65536) - 32768 for number in signed]


def test_dropout_repeats_with_its_seed():
    outs = []
    for _ in range(2):
        torch.manual_seed(3)
        outs.append(Dropout(0.3)(torch.ones(101)))
    assert torch.equal(*outs)


@pytest.mark.parametrize("dropout", [Dropout(0.3).eval(), Dropout(0.0), Dropout(1e-6)])
def test_dropout_that_drops_nothing_is_the_identity_and_draws_nothing(dropout):
    x = torch.randn(10, 10)
    before = torch.get_rng_state()
    assert torch.equal(dropout(x), x)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("p", [1.0, 1 - 1e-7])
def test_dropout_that_drops_all_gives_zeros(p):
    assert torch.equal(Dropout(p)(torch.ones(100_000)), torch.zeros(100_000))


def test_dropout_near_one_keeps_a_unit_in_65536():
    torch.manual_seed(0)
    out = Dropout(1 - 1 / 65536)(torch.ones(4096, 4096))
    assert out.unique().tolist() == [0, 65536]
    assert abs((out != 0).sum() - 256) < 5 * 16  # 256 expected, standard deviation 16


@pytest.mark.parametrize("shape", [(0,), (1,), (3,), (5, 7), (2, 3, 5, 7), ()])
def test_dropout_of_odd_sizes(shape):
    out = Dropout(0.5)(torch.ones(shape))
    assert out.shape == shape
    assert set(out.flatten().tolist()) <= {0.0, 2.0}


def test_dropout_of_a_tensor_that_is_not_contiguous():
    x = torch.arange(1.0, 61).reshape(3, 4, 5)
    for view in (x.transpose(0, 2), x[:, ::2], x[:1].expand(6, 4, 5)):
        torch.manual_seed(0)
        out = Dropout(0.5)(view)
        torch.manual_seed(0)
        assert torch.equal(out, Dropout(0.5)(view.contiguous()))
        assert ((out == 0) | (out == 2 * view)).all()
        assert 0 < (out == 0).sum() < out.numel()


def test_dropout_passes_the_gradient_of_what_it_kept():
    x = torch.ones(1000, requires_grad=True)
    out = Dropout(0.3)(x)
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())


def test_dropout_is_nn_dropout_otherwise():
    assert isinstance(Dropout(0.3), nn.Dropout)
    with pytest.raises(ValueError, match="between 0 and 1"):
        Dropout(1.5)
