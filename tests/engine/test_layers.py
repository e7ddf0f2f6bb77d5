"""The layers are those of torch.nn in value and gradient; dropout is held to its statistics."""

import copy
import math

import pytest
import torch
from torch import nn

from labutils.engine import layers
from labutils.engine.layers import Dropout, Linear, onednn_products
from labutils.models import build


@pytest.fixture(autouse=True)
def fast_products():
    with onednn_products(True):
        yield


def plain_layers(network: nn.Module) -> nn.Sequential:
    """The same network of torch.nn's own layers, in torch.nn's own memory layout."""

    def plain(layer):
        if isinstance(layer, nn.Linear):
            return copied(nn.Linear(layer.in_features, layer.out_features), layer)
        if isinstance(layer, nn.Unflatten):
            return nn.Unflatten(layer.dim, layer.unflattened_size)
        if isinstance(layer, nn.Flatten):
            return nn.Flatten()
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            kind = nn.Conv2d if isinstance(layer, nn.Conv2d) else nn.ConvTranspose2d
            sizes = layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding
            return copied(kind(*sizes), layer)
        return copy.deepcopy(layer)

    def copied(new, old):
        new.to(old.weight.dtype).load_state_dict(old.state_dict())
        return new

    return nn.Sequential(*map(plain, network.layers)).to(memory_format=torch.contiguous_format)


@pytest.mark.thorough
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
    if not layers._has_onednn():
        pytest.skip("this PyTorch has no oneDNN")
    layers._has_onednn.cache_clear()
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
        torch.func.grad(lambda y: layers._has_onednn() * y.sum())(x)
    assert layers._has_onednn()


@pytest.mark.filterwarnings("ignore")
def test_linear_can_be_traced():
    layer, x = Linear(20, 30), torch.randn(80, 20)
    torch.testing.assert_close(torch.jit.trace(layer, x)(x), layer(x))


def test_linear_is_plain_where_onednn_has_no_product(monkeypatch):
    layer, x = Linear(20, 30), torch.randn(80, 20)
    monkeypatch.setattr(layers, "_has_onednn", lambda: False)
    assert torch.equal(layer(x), nn.functional.linear(x, layer.weight, layer.bias))


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


def test_products_are_pytorchs_own_unless_asked_for():
    layer, x = Linear(20, 30), torch.randn(80, 20)
    with onednn_products(False):
        assert torch.equal(layer(x), nn.functional.linear(x, layer.weight, layer.bias))
        assert type(layer(x).grad_fn).__name__ == "AddmmBackward0"
    if layers._has_onednn():
        assert type(layer(x).grad_fn).__name__ == "_OneDNNProductBackward"


@pytest.mark.parametrize(("device", "innermost"), [("cpu", True), ("cuda", True), ("mps", False)])
@pytest.mark.parametrize("model", ["dcgan", "hybrid"])
def test_batch_norm_meets_the_layout_of_the_device(model, device, innermost, monkeypatch):
    """Forwards and backwards: on Apple's GPU it passes back wrong gradients where the channels are innermost."""
    wanted, seen = layers.layout(device), []
    monkeypatch.setattr(layers, "layout", lambda _: wanted)  # this machine stands for the device
    g, d = (layers.placed(network, "cpu") for network in build(model))

    def look(x):
        seen.append(x.is_contiguous(memory_format=torch.channels_last))

    def meet(layer, given, out):
        look(given[0])
        out.register_hook(look)

    for layer in (*g.modules(), *d.modules()):
        if isinstance(layer, nn.BatchNorm2d):
            layer.register_forward_hook(meet)
    d.logits(g(torch.randn(4, 100))).sum().backward()
    assert len(seen) >= 2
    assert set(seen) == {innermost}
    kernels = [p for p in (*g.parameters(), *d.parameters()) if p.dim() == 4 and 1 not in p.shape[:2]]
    assert {p.is_contiguous(memory_format=torch.channels_last) for p in kernels} <= {innermost}
