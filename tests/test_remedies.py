"""What makes a GAN stable: losses and penalties against values known by hand, and what `train` does with them."""

import copy
import math

import pytest
import tiny
import torch
from torch import nn

from labutils import losses, training
from labutils.engine.machine import describe, ways
from labutils.losses import LOSSES
from labutils.models import DCDiscriminator, DCGenerator, Discriminator, Generator, build, sample
from labutils.runs import RunError, load_run, read_tensors, write_json, write_tensors
from labutils.training import (
    Players,
    TrainConfig,
    clip_weights,
    one_epoch,
    penalties,
    train,
    update_average,
    update_discriminator,
)


def column(*values):
    return torch.tensor(values).view(-1, 1)


class Linear(nn.Module):
    """D(x) = w . x + b with |w| = 3: its gradient is w everywhere."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(784).index_fill_(0, torch.tensor([5, 9, 80]), 3**0.5))

    def logits(self, x):
        return (x.flatten(1) @ self.w).view(-1, 1) + 0.5


@pytest.mark.parametrize(
    ("name", "real", "fake", "d_loss", "g_loss"),
    [
        ("nonsaturating", (0.0, 0.0), (0.0, 0.0), 2 * math.log(2), math.log(2)),
        ("saturating", (0.0, 0.0), (0.0, 0.0), 2 * math.log(2), -math.log(2)),
        ("smoothed", (0.0, 0.0), (0.0, 0.0), 2 * math.log(2), math.log(2)),
        ("hinge", (0.0, 3.0), (-0.5, -2.0), 0.5 + 0.25, 1.25),  # (1 + 0) / 2 and (0.5 + 0) / 2
        ("hinge", (2.0, 2.0), (2.0, 2.0), 3.0, -2.0),
        ("lsgan", (1.0, 1.0), (-1.0, -1.0), 0.0, 0.5),
        ("lsgan", (0.0, 3.0), (0.0, 0.0), 2.5 / 2 + 0.5, 0.0),  # ((0 - 1)^2 + (3 - 1)^2) / 2 = 2.5
        ("wasserstein", (1.0, 3.0), (0.5, -1.5), -2.5, 0.5),
    ],
)
def test_a_loss_by_hand(name, real, fake, d_loss, g_loss):
    of_d, of_g = LOSSES[name]
    assert of_d(column(*real), column(*fake)).item() == pytest.approx(d_loss, abs=1e-6)
    assert of_g(column(*fake)).item() == pytest.approx(g_loss, abs=1e-6)


def test_the_fixed_point_of_label_smoothing():
    """Where p_g = p_data, the best D of one-sided smoothing says 0.9 / 2."""
    logit = torch.zeros(1, 1, requires_grad=True)
    optimizer = torch.optim.SGD([logit], 1.0)
    for _ in range(500):
        optimizer.zero_grad()
        losses.smoothed_discriminator_loss(logit, logit).backward()
        optimizer.step()
    assert torch.sigmoid(logit).item() == pytest.approx(0.45, abs=1e-4)
    assert losses.smoothed_discriminator_loss(logit, logit).item() / 2 == pytest.approx(0.688, abs=1e-3)
    assert losses.generator_loss(logit).item() == pytest.approx(0.799, abs=1e-3)


def test_the_penalties_of_a_linear_discriminator():
    real, fake = torch.rand(6, 1, 28, 28) * 2 - 1, torch.zeros(6, 1, 28, 28)
    assert losses.r1_penalty(Linear().logits, real).item() == pytest.approx(9 / 2, rel=1e-5)
    assert losses.gradient_penalty(Linear().logits, real, fake).item() == pytest.approx((3 - 1) ** 2, rel=1e-5)


def test_r1_looks_at_real_images_only_and_the_gradient_penalty_between():
    def logits(x):  # flat at black, with a slope of 2 a pixel at grey
        seen.append(x.detach().clone())
        return ((x + 1) ** 2).flatten(1).sum(1, keepdim=True)

    seen, black = [], torch.full((400, 1, 28, 28), -1.0)
    white = -black
    assert losses.r1_penalty(logits, black).item() == 0
    losses.gradient_penalty(logits, black, white)
    place = (seen[1] + 1) / 2  # 0 at real, 1 at fake
    torch.testing.assert_close(place, place[:, :, :1, :1].expand_as(place))  # one point of the line for each image
    places = place[:, 0, 0, 0]
    assert 0 < places.min() < 0.05
    assert 0.95 < places.max() < 1
    assert places.mean().item() == pytest.approx(0.5, abs=0.06)  # four standard errors


@pytest.mark.parametrize("penalty", ["r1", "gradient_penalty"])
def test_a_penalty_reaches_the_discriminator_s_weights_and_not_the_images(penalty):
    torch.manual_seed(0)
    discriminator, real, fake = Discriminator(), torch.rand(80, 1, 28, 28) - 0.5, torch.rand(80, 1, 28, 28) - 0.5
    arguments = (real,) if penalty == "r1" else (real, fake)
    getattr(losses, penalty + "_penalty" * (penalty == "r1"))(discriminator.logits, *arguments).backward()
    weights = [p for name, p in discriminator.named_parameters() if name.endswith("weight")]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in weights)
    assert real.grad is None
    assert fake.grad is None


def test_the_penalty_is_part_of_the_step():
    real = fake = torch.zeros(4, 1, 28, 28)
    without, with_penalty = Linear(), Linear()
    for network, penalty in ((without, None), (with_penalty, lambda d, x, _: 10 * losses.r1_penalty(d, x))):
        optimizer = torch.optim.SGD(network.parameters(), 0.01)
        loss, _, _ = update_discriminator(network, optimizer, real, fake, penalty=penalty)
    torch.testing.assert_close(without.w, Linear().w)  # at x = 0 the losses do not move w
    torch.testing.assert_close(with_penalty.w, 0.9 * Linear().w)  # d/dw of 10 |w|^2 / 2 is 10 w
    bce_at_half = -math.log(torch.sigmoid(torch.tensor(0.5))) - math.log(1 - torch.sigmoid(torch.tensor(0.5)))
    assert loss.item() == pytest.approx(bce_at_half + 45, rel=1e-5)


@pytest.mark.parametrize("network", [Discriminator, lambda: DCDiscriminator(batch_norm=False)])
def test_real_and_fake_in_one_batch_are_the_same_step(network):
    torch.manual_seed(0)
    apart, joint = network().eval(), network().eval()  # without dropout, whose masks are drawn in another order
    joint.load_state_dict(apart.state_dict())
    real, fake = torch.rand(2, 12, 1, 28, 28) * 2 - 1
    optimizers = [torch.optim.SGD(net.parameters(), 0.1) for net in (apart, joint)]
    one = update_discriminator(apart, optimizers[0], real, fake)
    other = update_discriminator(joint, optimizers[1], real, fake, joint=True)
    for a, b in zip([*one, *apart.parameters()], [*other, *joint.parameters()], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def sees_both_at_once(players):
    return players.steps[0].keywords["joint"]


def test_only_a_discriminator_without_batch_norm_sees_both_at_once():
    machine = describe("cpu", "auto", 1)
    for config, expected in (
        (TrainConfig(), True),
        (TrainConfig(model="dcgan"), False),
        (TrainConfig(model="dcgan", batch_norm="generator"), True),
        (TrainConfig(model="dcgan", discriminator="mlp"), True),
    ):
        assert sees_both_at_once(Players.of(config, machine)) == expected
        assert not sees_both_at_once(Players.of(config, describe("cpu", "float32", 1)))


def test_a_run_begun_before_the_fast_ways_were_written_down_keeps_to_its_own():
    older = {"device": "cpu", "threads": 1, "why": ""}
    assert ways(older | {"precision": "float32"}) == {
        "fused_adam": False,
        "joint_batch": False,
        "onednn_products": True,
        "captured": False,
    }
    assert ways(older | {"precision": "bfloat16"})["fused_adam"]
    assert not any(ways(describe("cpu", "float32", 1)).values())  # the plain loop's bits


def test_clipping():
    network = nn.Linear(3, 1)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[-2.0, 0.005, 0.3]]))
        network.bias.fill_(-7.0)
    clip_weights(network, 0.01)
    assert network.weight.tolist() == [pytest.approx([-0.01, 0.005, 0.01])]
    assert network.bias.item() == pytest.approx(-0.01)


def test_the_average_is_that_of_the_weights_and_of_the_statistics_of_batch_norm():
    torch.manual_seed(0)
    network = DCGenerator()
    average = copy.deepcopy(network)
    before = copy.deepcopy(network.state_dict())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    network.train()(torch.randn(16, 100))  # moves the running statistics
    update_average(average, network, 0.75)
    for key, value in average.state_dict().items():
        new = network.state_dict()[key]
        if value.is_floating_point():
            torch.testing.assert_close(value, 0.75 * before[key] + 0.25 * new)
            assert not torch.equal(new, before[key]), f"{key} did not move: nothing was tested"
        else:
            assert torch.equal(value, new)


@pytest.mark.parametrize("model", ["mlp", "dcgan"])
def test_spectral_norm_bounds_each_weight(model):
    torch.manual_seed(0)
    _, discriminator = build(model, spectral_norm=True)
    x = torch.rand(64, 1, 28, 28) * 2 - 1
    for _ in range(30):  # a step of the power iteration each
        discriminator.train().logits(x)
    layers = [layer for layer in discriminator.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert len(layers) == (4 if model == "mlp" else 3)
    for layer in layers:
        assert torch.linalg.svdvals(layer.weight.flatten(1))[0].item() == pytest.approx(1, abs=0.02)


def test_either_discriminator_against_either_generator():
    kinds = {"mlp": (Generator, Discriminator), "dcgan": (DCGenerator, DCDiscriminator)}
    for model in kinds:
        for other in kinds:
            pair = build(model, discriminator=other)
            assert [type(network) for network in pair] == [kinds[model][0], kinds[other][1]]


@pytest.mark.parametrize(("where", "counts"), [("both", (2, 1)), ("generator", (2, 0)), ("none", (0, 0))])
def test_batch_norm_where_it_is_asked_for(where, counts):
    pair = build("dcgan", batch_norm=where)
    norms = [sum(isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) for layer in net.modules()) for net in pair]
    assert tuple(norms) == counts
    assert sample(pair[0], torch.randn(2, 100)).shape == (2, 1, 28, 28)
    assert pair[1].logits(torch.zeros(2, 1, 28, 28)).shape == (2, 1)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"discriminator": "cnn"}, "discriminator is 'cnn'; use one of None, 'mlp', 'dcgan'"),
        ({"batch_norm": True}, "batch_norm is True; use one of 'both', 'generator', 'none'"),
        ({"spectral_norm": "yes"}, "spectral_norm is 'yes'; use one of False, True"),
        ({"d_lr": 0}, "d_lr is 0; expected a positive number such as 5e-5, or None"),
        ({"d_steps": 0}, "d_steps is 0; expected a whole number of at least 1"),
        ({"clip": -0.1}, "clip is -0.1; expected 0 .off. or a positive number"),
        ({"gradient_penalty": None}, "gradient_penalty is None; expected 0"),
        ({"r1": math.nan}, "r1 is nan; expected 0"),
        ({"r1": "10"}, "r1 is '10'; expected 0"),
        ({"ema": 1}, "ema is 1; expected a number from 0 up to, not including, 1"),
        ({"ema": True}, "ema is True"),
        ({"anneal": -1}, "anneal is -1; expected a whole number of at least 0"),
        ({"penalty_every": 0}, "penalty_every is 0; expected a whole number of at least 1"),
    ],
)
def test_a_bad_setting_gets_a_sentence(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        TrainConfig(**changes)


REMEDIES = {
    "ema": {"ema": 0.9},
    "r1": {"r1": 1},
    "wgan-gp": {"gradient_penalty": 10, "loss": "wasserstein"},
    "clip": {"clip": 0.01, "loss": "wasserstein", "d_steps": 3},
    "spectral norm": {"spectral_norm": True, "loss": "hinge"},
    "lsgan": {"loss": "lsgan"},
    "two rates": {"d_lr": 5e-5},
    "rates that fall, R1 in each third step": {"anneal": 2, "r1": 1, "penalty_every": 3},
    "none": {"batch_norm": "both"},
    "another discriminator": {"discriminator": "mlp"},
}


def stop(run):
    raise KeyboardInterrupt


@pytest.mark.thorough
@pytest.mark.parametrize("name", REMEDIES)
@pytest.mark.parametrize(
    ("model", "precision"),
    [("mlp", "float32"), ("dcgan", "float32"), ("dcgan", "bfloat16")],  # in bfloat16 Adam is fused
)
def test_a_stopped_run_with_a_remedy_goes_on_to_the_same_bits(name, model, precision, tmp_path):
    changes = {"model": model, "epochs": 2, "batch_size": 4, "batch_norm": "generator", "precision": precision}
    changes |= REMEDIES[name]
    images = tiny.images(6)  # two steps an epoch; more would take long where the hardware has no bfloat16
    train(tiny.config(**changes), tmp_path / "whole", images=images, progress=False)
    train(tiny.config(**changes), tmp_path / "halves", images=images, on_epoch=stop, progress=False)
    train(tiny.config(**changes), tmp_path / "halves", images=images, resume=True, progress=False)
    assert tiny.fingerprint(tmp_path / "whole") == tiny.fingerprint(tmp_path / "halves")
    run = load_run(tmp_path / "whole")
    assert sample(run.generator(), torch.randn(2, 4)).shape == (2, 1, 28, 28)
    assert run.discriminator().logits(images[:2]).shape == (2, 1)


@pytest.mark.usefixtures("tiny_networks")
class TestOfTraining:
    """Each remedy changes what it is meant to change, and nothing else."""

    @staticmethod
    def train(folder, **changes):
        return train(tiny.config(**changes), folder, images=tiny.images(), progress=False)

    def test_the_average_changes_nothing_but_what_is_shown(self, tmp_path):
        plain, averaged = self.train(tmp_path / "a"), self.train(tmp_path / "b", ema=0.9)
        assert tiny.untimed(plain.history) == tiny.untimed(averaged.history)
        weights = [read_tensors(run.folder / "generator.safetensors")[0] for run in (plain, averaged)]
        assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
        z = torch.randn(4, 4)
        raw, mean = averaged.generator(averaged=False), averaged.generator()
        assert torch.equal(sample(raw, z), sample(plain.generator(), z))
        assert not torch.equal(sample(mean, z), sample(raw, z))
        assert averaged.grid(3).tobytes() != plain.grid(3).tobytes()  # the samples shown are the average's

    def test_without_an_average_there_is_none_to_load(self, tmp_path):
        with pytest.raises(RunError, match=r"generator_average\.safetensors is missing"):
            self.train(tmp_path / "a").generator(averaged=True)

    def test_the_generator_takes_its_step_after_so_many_of_the_discriminator(self, tmp_path):
        """Two batches an epoch: with d_steps=3 the generator moves in the 3rd and 6th step, epochs 2 and 3."""
        moved, before = [], None
        for epochs in (1, 2, 3, 4):
            run = train(
                tiny.config(d_steps=3, epochs=epochs), tmp_path / "a", images=tiny.images(), resume=True, progress=False
            )
            weight = run.generator().layers[0].weight
            moved.append(before is not None and not torch.equal(weight, before))
            before = weight.clone()
        assert moved == [False, True, True, False]

    def test_clipped_weights_stay_within_their_limit(self, tmp_path):
        weights = [
            max(p.abs().max().item() for p in self.train(tmp_path / f"{clip}", clip=clip).discriminator().parameters())
            for clip in (0, 0.01)
        ]
        assert weights[0] > 0.02
        assert weights[1] == pytest.approx(0.01, abs=1e-6)

    def test_the_discriminator_s_own_learning_rate(self, tmp_path):
        same, slow = self.train(tmp_path / "a", d_lr=2e-4), self.train(tmp_path / "b", d_lr=1e-9)
        plain = self.train(tmp_path / "c")
        assert tiny.untimed(same.history) == tiny.untimed(plain.history)
        assert slow.history[-1]["d_loss"] > plain.history[-1]["d_loss"]

    def test_the_rates_fall_to_zero_along_half_a_cosine(self):
        config, images, rates = tiny.config(anneal=2, d_lr=1e-4), tiny.images(), []  # two batches an epoch
        players = Players.of(config, describe("cpu", "float32", 1))

        def tick(means):
            rates.append([optimizer.param_groups[0]["lr"] for optimizer in players.optimizers().values()])

        for epoch in (1, 2):
            one_epoch(config, players, images, epoch, tick)
        before = copy.deepcopy(players.generator.state_dict())
        one_epoch(config, players, images, 3, tick)
        shares = [math.cos(math.pi * step / 8) ** 2 for step in range(4)] + [0, 0]
        assert rates == [pytest.approx([2e-4 * share, 1e-4 * share]) for share in shares]
        assert all(torch.equal(value, before[key]) for key, value in players.generator.state_dict().items())

    def test_a_lazy_penalty_comes_in_each_third_step_three_times_as_strong(self, tmp_path, monkeypatch):
        x, seen = torch.zeros(4, 1, 28, 28), []
        assert penalties(TrainConfig(r1=2, penalty_every=3), Linear().logits, x, x).item() == pytest.approx(3 * 2 * 4.5)
        monkeypatch.setattr(training, "r1_penalty", lambda logits, real: seen.append(len(real)) or torch.zeros(()))
        self.train(tmp_path / "a", r1=2, penalty_every=3)  # six batches, of 32 and 16 images in turn
        assert seen == [32, 16]

    def test_an_older_run_is_resumed_with_the_defaults_of_newer_fields(self, tmp_path):
        run = self.train(tmp_path / "a", epochs=1)
        whole = self.train(tmp_path / "b", epochs=2)
        newer = ["ema", "r1", "clip", "discriminator", "batch_norm", "spectral_norm", "d_lr", "d_steps"]
        newer += ["ema_warmup", "anneal", "penalty_every", "dropout"]
        for path in (run.folder / "state_odd.safetensors", run.folder / "state_even.safetensors"):
            if path.exists():
                tensors, about = read_tensors(path)
                for key in newer:
                    del about["config"]["train"][key]
                write_tensors(path, tensors, about)
        resumed = train(tiny.config(epochs=2), run.folder, images=tiny.images(), resume=True, progress=False)
        assert tiny.untimed(resumed.history) == tiny.untimed(whole.history)

    def test_weights_kept_at_half_the_size(self, tmp_path):
        run = self.train(tmp_path / "a")
        path = run.folder / "generator.safetensors"
        tensors, about = read_tensors(path)
        write_tensors(path, {key: value.half() for key, value in tensors.items()}, about)
        z = torch.randn(16, 4)
        half = load_run(run.folder).generator()
        assert {p.dtype for p in half.parameters()} == {torch.float32}
        write_tensors(path, tensors, about)
        torch.testing.assert_close(sample(half, z), sample(run.generator(), z), rtol=0, atol=2e-3)

    def test_a_config_that_describes_no_network(self, tmp_path):
        run = self.train(tmp_path / "a")
        for key, value in (("batch_norm", "everywhere"), ("discriminator", "cnn"), ("discriminator", ["mlp"])):
            changed = copy.deepcopy(run.config)
            changed["train"][key] = value
            write_json(run.folder / "config.json", changed)
            with pytest.raises(RunError, match="describes no network of labutils: There is no"):
                load_run(run.folder).generator()


def test_the_average_alone_is_enough_for_a_reader(tmp_path):
    """A run with an average, copied without its state and its discriminator, still gives its generator."""
    run = train(tiny.config(model="dcgan", ema=0.5, epochs=1), tmp_path / "a", images=tiny.images(4), progress=False)
    for name in ("state_odd", "state_even", "discriminator", "generator"):
        (run.folder / f"{name}.safetensors").unlink(missing_ok=True)
    assert sample(load_run(run.folder).generator(), torch.randn(2, 4)).shape == (2, 1, 28, 28)
