"""Checks of notebook 03: both networks, counting their parameters, dropout by hand, and weights_init."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labutils.exercises.answer import Exercise
from labutils.exercises.expect import Wrong, expect, expect_tensor, kind, shown


class mlp_parameters(Exercise, number="3.3"):
    """answer(widths) -> the number of parameters of an MLP whose layers have these widths."""

    may_change = frozenset({"random"})  # whoever builds the layers to count them draws their weights

    def cases(self):
        return [{"widths": widths} for widths in ([2, 3, 4], [100, 256, 512, 1024, 784], [784, 1024, 512, 256, 1])]

    def judge(self, case, seen):
        widths, out = case["widths"], seen["out"]
        pairs = list(itertools.pairwise(widths))
        weights = sum(a * b for a, b in pairs)
        right = weights + sum(widths[1:])
        mistakes = [
            (weights, "The biases are missing: each layer has one for every output."),
            (weights + len(pairs), "A layer has one bias for every output, not one in all."),
            (weights + sum(widths[:-1]), "Biases belong to the outputs of a layer, not to its inputs."),
            (weights + sum(widths), "The input has no bias: only the outputs of a layer have one."),
            (right - (widths[-2] + 1) * widths[-1], "The last layer is missing: n widths make n - 1 layers."),
        ]
        case = f"For widths {widths} you counted {shown(out)}; nn.Linear layers of these widths have {right:,}."
        expect(out, right, [(value, f"{reason} {case}") for value, reason in mistakes], case, atol=0, rtol=0)


class dropout(Exercise, number="3.4"):
    """answer(x (N, units), p) -> x with each value dropped with probability p, the others divided by 1 - p."""

    may_change = frozenset({"random"})

    def cases(self):  # 10,000 values, few enough for loops over each: the share kept is 0.7 within 0.005
        x = torch.linspace(-2, 3, 10_000).reshape(40, 250)  # none of them 0
        return [{"x": x, "p": 0.3}, {"x": x, "p": 0.6}, {"x": x[:2], "p": 0.0}]

    def perform(self, answer, case):
        leaf = case["x"].clone().requires_grad_()
        outs = [answer(x, case["p"]) for x in (case["x"].clone(), leaf * 1)]
        if isinstance(outs[1], Tensor) and outs[1].requires_grad:
            outs[1].sum().backward()
        return {"outs": outs, "gradient": leaf.grad}

    def judge(self, case, seen):
        x, p = case["x"], case["p"]
        first, second = (expect_tensor(out, x.shape, torch.float32) for out in seen["outs"])
        if p == 0:
            return expect(first, x, [], "With p = 0 nothing is dropped: the result must be x.")
        kept = first != 0
        share, wanted = kept.float().mean().item(), 1 - p
        keeps = f"With p = {p} you keep {share:.3f} of the values"
        if torch.equal(first, x):
            raise Wrong(f"Nothing was dropped: that is x as it was. With p = {p} about {p:.0%} become 0.")
        if 0 < share < 1 and (kept == kept[0]).all():
            raise Wrong("Every row has the same mask: draw one random number for each value of x, torch.rand(x.shape).")
        if 0 < share < 1 and (kept == kept[:, :1]).all():
            raise Wrong("Whole rows are dropped: draw one random number for each value of x, torch.rand(x.shape).")
        mistakes = [(p, f"{keeps}: p is the share to drop, so keep {wanted:g}.")]
        expect(share, wanted, mistakes, f"{keeps}; expected about {wanted:g}.", atol=0.02, rtol=0)
        scales = first[kept] / x[kept]
        mistakes = [
            (torch.ones_like(scales), "The values kept are not scaled: divide by 1 - p, so that the mean stays."),
            (torch.full_like(scales, 1 / p), "The values kept are divided by p: divide by 1 - p, the share kept."),
        ]
        otherwise = f"A value kept is multiplied by {{seen}}; expected 1 / (1 - p) = {1 / wanted:.4f}."
        expect(scales, torch.full_like(scales, 1 / wanted), mistakes, otherwise, rtol=0, atol=1e-3)
        if torch.equal(first, second):
            raise Wrong("Two calls drop the same values: do not fix a seed inside the function.")
        if seen["gradient"] is None:
            raise Wrong("No gradient reaches x, so a layer before the dropout would not learn: no .detach() or .data.")
        otherwise = f"A value of x has the gradient {{seen}}; expected {{expected}}, 1 / {wanted:g} where kept, else 0."
        expect(seen["gradient"], (second != 0) / wanted, [], otherwise, rtol=0, atol=1e-3)


NAMES = ("tanh", "sigmoid", "leaky_relu", "gelu", "elu", "silu")  # of what may stand in the place of ReLU
BETWEEN = [(lambda x: x, "No ReLU stands between the linear layers: they are one.")]
BETWEEN += [(getattr(F, name), f"Between the linear layers stands {name}: ReLU there.") for name in NAMES]
BETWEEN += [(lambda x: F.leaky_relu(x, 0.2), "Between the linear layers stands LeakyReLU(0.2): ReLU there.")]


class _Network(Exercise, number=""):
    """What the two networks' checks share: the answer is a class, and its weights are set by the check, by shape."""

    may_change, of_class = frozenset({"random"}), True
    widths: tuple[int, ...] = ()
    shape: tuple[int, ...] = ()  # of one result
    end, seldom, say = staticmethod(torch.tanh), "", ""  # what follows the last layer, what a ReLU before it would do

    def cases(self):
        return [{"seed": 0}]

    def drawn(self, seed: int) -> tuple[Tensor, list[Tensor]]:
        """A batch of 5 inputs, and weights and biases that keep the signal's size from layer to layer."""
        draw = torch.Generator().manual_seed(seed)
        batch, weights = torch.randn(5, self.widths[0], generator=draw).clamp(-1, 1), []
        for a, b in itertools.pairwise(self.widths):
            weights.append(torch.randn(b, a, generator=draw) * (2 / a) ** 0.5)
            weights.append(torch.randn(b, generator=draw) / 4)
        return batch, weights

    def perform(self, answer, case):
        network, (batch, weights) = answer(), self.drawn(case["seed"])
        if not isinstance(network, nn.Module):
            return {"network": network, "layers": None}
        batch = batch if self.widths[0] == 100 else batch.reshape(-1, 1, 28, 28)
        if any(map(nn.parameter.is_lazy, network.parameters())):
            network.eval()(batch)
        parameters = list(network.parameters())
        linear = [[m.in_features, m.out_features] for m in network.modules() if isinstance(m, nn.Linear)]
        seen = {"network": None, "layers": linear, "parameters": sum(p.numel() for p in parameters)}
        if sorted(map(list, (p.shape for p in parameters))) != sorted(map(list, (w.shape for w in weights))):
            return seen
        for weight in weights:
            next(p for p in parameters if p.shape == weight.shape).data = weight
        train = network.train()(torch.cat([batch[:1]] * 600) if self.widths[-1] == 1 else batch)
        if isinstance(train, Tensor) and train.requires_grad:
            train.sum().backward()
        seen |= {"train": train, "graph": all(p.grad is not None for p in parameters)}
        return seen | {"out": network.eval()(batch), "one": network(batch[:1])}

    def judge(self, case, seen):
        layers, pairs = seen["layers"], list(map(list, itertools.pairwise(self.widths)))
        if layers is None:
            raise Wrong(f"Calling your class made a {kind(seen['network'])}, no nn.Module: class ...(nn.Module).")
        if "out" not in seen and not seen["parameters"]:
            raise Wrong("Your network has no parameters: keep its layers in nn.Sequential or nn.ModuleList, no list.")
        if "out" not in seen and sorted(layers) != sorted(pairs):
            texts = (", ".join(f"{a} to {b}" for a, b in some) or "nothing to nothing" for some in (layers, pairs))
            raise Wrong("The nn.Linear layers of your network go from {}; expected {}.".format(*texts))
        if "out" not in seen:
            say = f"Your network has {seen['parameters']:,} parameters; those of the four linear layers are "
            right = sum((a + 1) * b for a, b in pairs)
            raise Wrong(f"{say}{right:,}. Keep their biases, and use no other layers with parameters.")
        batch, weights = self.drawn(case["seed"])
        raw, shape = self.chain(batch, weights), (len(batch), *self.shape)
        mistakes = [*self.ends(raw), (self.end(raw.relu()), f"There is a ReLU before the end: {self.seldom}")]
        mistakes += [(self.end(self.chain(batch, weights, between)), say) for between, say in BETWEEN]
        mistakes = [(value.reshape(shape), say) for value, say in mistakes]
        right, out = self.end(raw).reshape(shape), expect_tensor(seen["out"], shape, torch.float32, "Your network")
        expect(out, right, mistakes, f"With weights set by this check, {self.say}", near=1e-3)
        expect(seen["one"], right[:1], [], "Alone, an image comes out otherwise than in a batch.")
        if not seen["graph"]:
            raise Wrong("No gradient reaches the weights, or not all: no .detach(), .data or no_grad in forward.")
        self.judge_train(batch, weights, seen["train"], right)

    def chain(self, x: Tensor, weights: list[Tensor], between=F.relu, keep: float = 1.0) -> Tensor:
        """What comes out of the last linear layer."""
        for i in range(0, len(weights), 2):
            x = F.linear(x, weights[i], weights[i + 1])
            if i < len(weights) - 2:
                x = between(x)
                if keep < 1:
                    x = x * (torch.rand(x.shape, generator=torch.Generator().manual_seed(i)) < keep) / keep
        return x


class generator(_Network, number="3.1"):
    """answer() -> an nn.Module: z (N, 100) -> images (N, 1, 28, 28) in (-1, 1), through 256, 512 and 1024 units."""

    widths, shape, seldom = (100, 256, 512, 1024, 784), (1, 28, 28), "no pixel could be darker than middle grey."
    say = "a pixel is {seen}; expected {expected}. Does a ReLU follow each hidden layer, and Tanh the last one?"

    def ends(self, raw):
        yield raw, "The Tanh at the end is missing: values lie beyond [-1, 1]."
        yield raw.sigmoid(), "At the end is a Sigmoid, which gives [0, 1]: real images lie in [-1, 1], so Tanh."

    def judge_train(self, batch, weights, train, right):
        say = "In train mode it gives other images than in eval mode: the generator has no dropout and no batch norm."
        expect(train, right, [], say)


class discriminator(_Network, number="3.2"):
    """answer() -> an nn.Module: images (N, 1, 28, 28) -> D(x) (N, 1), through 1024, 512 and 256 units, Dropout(0.3)."""

    widths, shape, seldom = (784, 1024, 512, 256, 1), (1,), "D could never say less than 1/2."
    end = staticmethod(torch.sigmoid)
    say = "and in eval mode, D(x) is {seen}; expected {expected}. Does a ReLU follow each hidden layer, and a "
    say += "Sigmoid the last one, and is dropout off in eval mode?"

    def ends(self, raw):
        yield raw, "That is the logit: the Sigmoid at the end is missing."
        yield raw.tanh(), "At the end is Tanh: a probability lies in (0, 1), so Sigmoid."
        yield 1 - raw.sigmoid(), "That is the probability that x is fake."
        yield raw.sigmoid().sigmoid(), "The Sigmoid stands there twice."

    def judge_train(self, batch, weights, train, right):
        train = expect_tensor(train, (600, 1), what="In train mode your network").double()
        if 2 < len(train.round(decimals=4).unique()) < 300:
            raise Wrong("In train mode whole rows are dropped, or kept: Dropout(0.3) draws for each value of a row.")
        spread = torch.logit(train.clamp(1e-9, 1 - 1e-9)).std().item()

        def of(p):
            return self.chain(torch.cat([batch[:1]] * 600), weights, keep=1 - p).std().item()

        say = "In train mode copies of an image have the same D(x): Dropout(0.3) after each hidden layer is missing, "
        mistakes = [(0.0, f"{say}or it drops the same values of each row.")]
        say = "In train mode the logit of one image varies by {seen}; with Dropout(0.3) after each of the three hidden "
        expect(spread, of(0.3), mistakes, f"{say}layers by {{expected}}, at 0.5 by {of(0.5):.4f}.", 0, 0.13, near=1e-3)


class weights_init(Exercise, number="3.5"):
    """answer(module), in place: Linear and both convolutions N(0, 0.02), BatchNorm2d N(1, 0.02), bias 0; no others."""

    may_change = frozenset({"random", "values"})
    modules = {  # noqa: RUF012  name -> how to build one
        "Linear": lambda: nn.Linear(200, 100),
        "Conv2d": lambda: nn.Conv2d(16, 64, 4),
        "ConvTranspose2d": lambda: nn.ConvTranspose2d(64, 16, 4),
        "BatchNorm2d": lambda: nn.BatchNorm2d(4000),
        "Linear without bias": lambda: nn.Linear(200, 100, bias=False),
        "Dropout": lambda: nn.Dropout(0.3),
        "Sequential": lambda: nn.Sequential(nn.ReLU()),
        "Embedding": lambda: nn.Embedding(50, 20),
        "BatchNorm1d": lambda: nn.BatchNorm1d(20),
    }

    def cases(self):
        return [{"kind": name} for name in self.modules]

    def perform(self, answer, case):
        module = self.modules[case["kind"]]()
        if case["kind"] == "BatchNorm2d":
            module.bias.data.fill_(0.5)
        before = {name: value.clone() for name, value in module.state_dict().items()}
        answer(module)
        return {"before": before, "after": dict(module.state_dict())}

    def judge(self, case, seen):
        name, before, after = case["kind"].partition(" ")[0], seen["before"], seen["after"]
        if after.keys() != before.keys():
            raise Wrong(f"Your function adds or removes parameters of nn.{name}: change the values of those it has.")
        if name in ("Dropout", "Sequential", "Embedding", "BatchNorm1d"):
            if any(not torch.equal(before[key], after[key]) for key in before):
                raise Wrong(f"You change an nn.{name}, which is none of the layers named: leave others as they are.")
            return
        weight, wanted = after["weight"].double(), float(name == "BatchNorm2d")
        mean, std = weight.mean().item(), weight.std().item()
        if torch.equal(before["weight"], after["weight"]):
            raise Wrong(f"The weights of nn.{name} are as PyTorch made them: draw them for this kind of layer too.")
        seen_ = f"The weights of nn.{name} have mean {mean:.3f} and deviation {std:.4f}; expected {wanted:g} and 0.02."
        mistakes = [
            (0.02**0.5, f"{seen_} 0.02 is the standard deviation, not the variance."),
            (0.0004, f"{seen_} normal_ takes the standard deviation, not the variance."),
            (0.0, f"{seen_} They are all alike: draw them."),
        ]
        if abs(mean - wanted) > 0.002 + std / 50:
            scale = " A batch norm whose scales lie around 0 kills its signal." * (wanted == 1 and abs(mean) < 0.1)
            raise Wrong(f"{seen_}{scale}")
        expect(std, 0.02, mistakes, seen_, atol=0, rtol=0.04)
        if abs(((weight - mean) / std).pow(4).mean() - 3) > 0.4:  # 1.8 for an even distribution, 6 for Laplace's
            raise Wrong(f"The weights of nn.{name} are not drawn from a normal distribution: nn.init.normal_.")
        if any(not torch.equal(before[key], after[key]) for key in before.keys() - {"weight", "bias"}):
            raise Wrong(f"You change what nn.{name} has measured, its running mean or variance: weight and bias alone.")
        if name == "BatchNorm2d":
            expect(after["bias"], torch.zeros(4000), [], "The bias of BatchNorm2d must be 0.")
        elif "bias" in before and not torch.equal(before["bias"], after["bias"]):
            raise Wrong(f"The bias of nn.{name} has changed: biases of these layers keep PyTorch's default.")
