"""Checks of notebook 04: the leaves of a graph, where to detach, a frozen discriminator, who receives a gradient."""

from collections.abc import Set

import torch
from torch import Tensor, nn

from labutils.exercises.answer import Exercise
from labutils.exercises.expect import Untouched, Wrong, expect, expect_number, is_odd, listed, shown

LEAVES = {"loss": {"v", "w"}, "two layers": {"weight 1", "bias 1", "weight 2"}}  # of the graphs that have some


class leaves(Exercise, number="4.1"):
    """answer(tensor) -> the set of leaf tensors that backward() from it would give a gradient."""

    advice = (("attribute 'next_functions'", "next_functions holds None, and grad_fn is None, without a graph: skip."),)

    def cases(self):
        return [{"graph": "loss"}, {"graph": "two layers"}, {"graph": "detached"}, {"graph": "no gradient at all"}]

    def perform(self, answer, case):
        tensors, result = self._graph(case["graph"])
        found = answer(result)
        if not isinstance(found, Set | list | tuple):  # a dictionary's keys are a Set too
            return {"kind of it": type(found).__name__, "names": []}
        names = [next((name for name, t in tensors.items() if t is one), "another tensor") for one in found]
        others = [type(one).__name__ for one in found if not isinstance(one, Tensor)]
        functions = any(hasattr(one, "next_functions") for one in found)
        seen = {"kind of it": "set", "names": names, "functions": functions, "others": others}
        return seen | {"gradients": any(tensor.grad is not None for tensor in tensors.values())}

    def _graph(self, name: str) -> tuple[dict[str, Tensor], Tensor]:
        w, v, cut, x = (torch.ones(2, requires_grad=needed) for needed in (True, True, True, False))
        layer, other, deep = nn.Linear(3, 2), nn.Linear(2, 1), w * x
        other.bias.requires_grad_(False)
        for _ in range(30):
            deep = deep + v
        tensors = {"w": w, "v": v, "cut": cut, "x": x, "weight 1": layer.weight, "bias 1": layer.bias}
        results = {"loss": (deep * cut.detach()).sum(), "two layers": other(layer(torch.ones(4, 3)).relu()).mean()}
        results |= {"detached": (w * v).detach(), "no gradient at all": x * 2}
        return tensors | {"weight 2": other.weight, "bias 2": other.bias}, results[name]

    def judge(self, case, seen):
        names = seen["names"]
        if seen["kind of it"] != "set":
            empty = " Behind a tensor without a graph there is nothing: an empty set." * (case["graph"] not in LEAVES)
            raise Wrong(f"Your function returned a {seen['kind of it']}; it must return a set of tensors.{empty}")
        if seen["gradients"]:
            raise Wrong("Your function gives the leaves gradients: walk along the graph, and call no backward().")
        if seen["functions"]:
            raise Wrong("The set holds functions: the leaf itself is `function.variable`, where a function has one.")
        if seen["others"]:
            raise Wrong(f"The set holds a {seen['others'][0]}: it must hold the leaf tensors themselves.")
        if case["graph"] not in LEAVES and names:
            raise Wrong(f"Behind a tensor without a graph is nothing; you found {len(names)}: return an empty set.")
        if len(names) > len(set(names)) and case["graph"] == "loss" and "another tensor" not in names:
            raise Wrong(f"One leaf is used 30 times; your {len(names)} tensors hold it more than once: gather a set.")
        right = LEAVES.get(case["graph"], set())
        if case["graph"] == "loss" and set(names) == {"v"}:
            raise Wrong("A leaf far behind the loss is missing: follow the next_functions of every function you meet.")
        if set(names) != right or len(names) != len(right):
            made = "of 2 leaves, a detached one and a constant"
            if case["graph"] != "loss":
                made = "by two layers, the second one's bias without gradient: 3 leaves"
            raise Wrong(f"The loss was made {made}; you found {len(names)} tensors: {', '.join(names) or 'none'}.")


def networks(case: dict) -> tuple[nn.Module, nn.Module]:
    """A small generator and discriminator with the weights of a case, Tanh between their layers."""
    made = []
    for weights in (case["g"], case["d"]):
        weights = [torch.as_tensor(w) for w in weights]
        layers = []
        for weight in (w for w in weights if w.ndim == 2):
            layers += [nn.Linear(weight.shape[1], weight.shape[0], bias=len(weights) > 1), nn.Tanh()]
        made.append(nn.Sequential(*layers[:-1]))
        for parameter, value in zip(made[-1].parameters(), weights, strict=True):
            parameter.data = value.clone()
    return made[0], made[1].append(nn.Sigmoid())


def cases_of_two(seed: int) -> list[dict]:
    """Networks of one weight each, to compute by hand, and some of two layers with biases."""
    draw = torch.Generator().manual_seed(seed)
    tiny = {"g": [[[0.5]]], "d": [[[2.0]]], "z": torch.tensor([[1.0], [3.0]])}
    sizes = {"g": [(3, 2), (3,), (4, 3), (4,)], "d": [(3, 4), (3,), (1, 3), (1,)]}
    large = {key: [torch.randn(*size, generator=draw) for size in value] for key, value in sizes.items()}
    return [tiny, large | {"z": torch.randn(5, 2, generator=draw)}]


def flat(tensors) -> torch.Tensor:
    """All numbers of some tensors in one row."""
    return torch.cat([tensor.flatten().double() for tensor in tensors])


class two_losses(Exercise, number="4.2"):
    """answer(generator, discriminator, real, z) -> (D's loss, G's loss), two scalars, from one batch of fakes."""

    may_change = frozenset({"gradients"})

    def cases(self):
        draw, cases = torch.Generator().manual_seed(42), cases_of_two(2)
        return [case | {"real": torch.randn(len(case["z"]), len(case["d"][0][0]), generator=draw)} for case in cases]

    def perform(self, answer, case):
        (generator, discriminator), calls = networks(case), []
        generator.register_forward_hook(lambda *_: calls.append(1))
        out = answer(generator, discriminator, case["real"], case["z"])
        if not isinstance(out, tuple | list) or len(out) != 2 or not all(isinstance(loss, Tensor) for loss in out):
            return {"out": None, "returned": out}
        early = [p.grad is not None for network in (generator, discriminator) for p in network.parameters()]
        seen = {"out": list(out), "returned": None, "calls": len(calls), "errors": [], "early": any(early)}
        for loss, name in zip(out, ("d", "g"), strict=True):
            for network in (generator, discriminator):
                network.zero_grad()
            try:
                loss.backward()
                seen["errors"].append("")
            except RuntimeError as error:
                seen["errors"].append(str(error).partition(". ")[0])
            for network, whose in ((generator, "G"), (discriminator, "D")):
                seen[name + whose] = [p.grad for p in network.parameters()]
        return seen

    def judge(self, case, seen):
        if seen["out"] is None:
            raise Wrong(f"Your function returned {shown(seen['returned'])}; return the two losses, (D's, G's).")
        (d_error, g_error), (generator, discriminator) = seen["errors"], networks(case)
        for name, out in zip("DG", seen["out"], strict=True):
            if out.numel() != 1:
                raise Wrong(f"{name}'s loss has the shape {tuple(out.shape)}: take the mean over the batch.")
        if seen["early"]:
            raise Wrong("There are gradients already: return the two losses, and leave backward() to the caller.")
        if any(gradient is not None for gradient in seen["dG"]):
            raise Wrong("D's loss gives G a gradient, and its images would become easier to tell: detach them there.")
        if "does not require grad" in d_error or any(gradient is None for gradient in seen["dD"]):
            raise Wrong("D's loss reaches no parameter of D: cut off only the fakes, not what D says of them.")
        if "second time" in g_error:
            raise Wrong("G's loss shares a graph with D's, which is used up: let D judge the fakes anew, not detached.")
        if g_error or any(gradient is None for gradient in seen["gG"]):
            raise Wrong("G's loss gives G no gradient: here the fakes must not be detached, nor made under no_grad.")
        fake = generator(case["z"])
        d_real, d_fake = discriminator(case["real"]).log().mean(), (1 - discriminator(fake.detach())).log().mean()
        d_loss, g_loss = -d_real - d_fake, -discriminator(fake).log().mean()
        mistakes = [
            (d_loss / 2, "D's loss is the mean of its two terms: add them."),
            (-d_loss, "D's loss has the wrong sign."),
            (-d_real, "D's loss has only the real term."),
            (-d_fake, "D's loss has only the fakes' term."),
            (g_loss, "D's loss comes first, then G's: exchange them."),
            (len(fake) * d_loss, "D's loss is a sum over the batch: take the mean of each term."),
        ]
        expect(expect_number(seen["out"][0]), d_loss, mistakes, "D's loss is {seen}; expected {expected}.", atol=1e-5)
        saturating = (1 - discriminator(fake)).log().mean()
        mistakes = [
            (saturating, "G's loss is the saturating one: label 1, -log D(G(z))."),
            (-g_loss, "G's loss has the wrong sign."),
            (-saturating, "G's loss is D's term for fakes, label 0: G wants label 1."),
            (len(fake) * g_loss, "G's loss is a sum over the batch: take the mean."),
        ]
        expect(expect_number(seen["out"][1]), g_loss, mistakes, "G's loss is {seen}; expected {expected}.", atol=1e-5)
        right = torch.autograd.grad(d_loss, list(discriminator.parameters()))
        expect(flat(seen["dD"]), flat(right), [], "D's loss is right, but D's gradient is {seen}; expected {expected}.")
        right = torch.autograd.grad(g_loss, list(generator.parameters()))
        expect(flat(seen["gG"]), flat(right), [], "G's loss is right, but G's gradient is {seen}; expected {expected}.")
        if seen["calls"] > 1:  # none: by its forward(), or layer by layer
            raise Wrong(f"You called the generator {seen['calls']} times: one batch of fakes serves both losses.")


class frozen(Exercise, number="4.3"):
    """answer(generator, discriminator, z) -> the mean of -log D(G(z)), its graph without D's parameters."""

    may_change = frozenset({"gradients", "requires_grad"})  # judged by what D is afterwards
    advice = (("does not require grad", "No gradient reached G: its images must not be detached, nor under no_grad."),)

    def cases(self):
        return cases_of_two(43)

    def perform(self, answer, case):
        (generator, discriminator), needed = networks(case), []
        discriminator.register_forward_pre_hook(  # whoever judges, D itself or a copy
            lambda judge, _: needed.append([p.requires_grad for p in judge.parameters()])
        )
        out = answer(generator, discriminator, case["z"])
        trainable = [p.requires_grad for p in [*generator.parameters(), *discriminator.parameters()]]
        early = [p.grad is not None for p in [*generator.parameters(), *discriminator.parameters()]]
        seen = {"out": out, "needed": needed, "trainable": trainable, "early": any(early), "error": ""}
        if isinstance(out, Tensor) and out.numel() == 1 and out.requires_grad and not any(early):
            out.backward()
        gradients = [[p.grad for p in network.parameters()] for network in (generator, discriminator)]
        return seen | {"G": gradients[0], "D": gradients[1]}

    def judge(self, case, seen):
        (generator, discriminator), out = networks(case), seen["out"]
        if not isinstance(out, Tensor) or out.numel() != 1:
            raise Wrong(f"Your function returned {shown(out)}; return the loss, one number as a tensor.")
        d = discriminator(generator(case["z"]))
        right, saturating = -d.log().mean(), (1 - d).log().mean()
        mistakes = [
            (saturating, "This is the saturating loss, log(1 - D(G(z)))."),
            (-saturating, "This is D's loss: G wants the label 1 for its images."),
            (-right, "The sign is wrong: the loss is -log D(G(z)), and G makes it smaller."),
            (-d.log().sum(), "This is the sum over the batch; the loss is the mean."),
        ]
        expect(expect_number(out), right.detach(), mistakes, "The loss is {seen}; expected {expected}.", atol=1e-5)
        if seen["early"]:
            raise Wrong("There are gradients already: return the loss alone, and leave backward() to the caller.")
        if any(gradient is None for gradient in seen["G"]):
            raise Wrong("No gradient reaches G: are its images detached, made under no_grad, by a frozen G or a copy?")
        count = sum(map(any, zip(*seen["needed"], strict=True))) or sum(grad is not None for grad in seen["D"])
        if count:
            still = f"{count} of its {len(seen['D'])} parameter tensors still wanted a gradient"
            raise Wrong(f"D was not frozen while it judged the fakes: {still}. Freeze all of them before.")
        if not all(seen["trainable"]):
            raise Wrong("D stays frozen, or G: the next step would learn nothing. Restore requires_grad.")
        grads = torch.autograd.grad(right, list(generator.parameters()))
        expect(flat(seen["G"]), flat(grads), [], "The loss is right, but G's gradient is {seen}; expected {expected}.")


RECEIVE = {  # a step of the MLP GAN -> (tensors of G, tensors of D) with a gradient after it; what to think of
    "D step, fakes made under no_grad": ((0, 8), "What is made under no_grad has no graph, as if it were detached."),
    "D step, no detach, first layer of G frozen": ((6, 8), "The graph reaches G; a layer has two tensors."),
    "G step, last layer of D frozen": ((8, 6), "D computes the loss of G: what of D is not frozen is a leaf too."),
    "G step, all of D frozen but its first layer": ((8, 2), "Each tensor counts by itself: frozen or not."),
    "G step, D frozen, last layer of G frozen": ((6, 0), "A frozen layer takes no gradient, but lets it pass."),
}


class receive(Exercise, number="4.4"):
    """prediction[step] = (tensors of G, tensors of D) that hold a gradient after the backward pass of that step."""

    data = True

    def cases(self):
        return [{}]

    def perform(self, answer, case):
        return {"out": answer}

    def judge(self, case, seen):
        prediction = seen["out"]
        if not isinstance(prediction, dict) or is_odd(prediction) or set(prediction) != set(RECEIVE):
            raise Wrong(f"Keep the five steps as they are named: {', '.join(RECEIVE)}.")
        if all(pair == [None, None] for pair in prediction.values()):
            raise Untouched
        for step, (right, hint) in RECEIVE.items():
            pair = listed(prediction[step])
            if not isinstance(pair, list) or len(pair) != 2:
                raise Wrong(f"{step}: it is {shown(pair)}; write a pair of numbers, (G, D).")
            if None in pair:
                raise Wrong(f"{step}: this one is not filled in yet.")
            if tuple(pair) != right:
                raise Wrong(f"{step}: it is not ({', '.join(map(shown, pair))}). {hint}")
