"""Checks of notebook 04: the leaves of a graph, who receives a gradient, and a frozen discriminator."""

import torch
from torch import Tensor, nn

from labutils.exercises.answer import Exercise
from labutils.exercises.expect import Untouched, Wrong, expect, is_odd, shown


class leaves(Exercise, number="4.1"):
    """answer(tensor) -> the set of leaf tensors that backward() from it would give a gradient."""

    advice = (
        ("'NoneType' object has no attribute 'next_functions'",
         "next_functions holds None for an input without gradient, and grad_fn is None without a graph: skip it."),
    )  # fmt: skip

    def cases(self):
        return [{"graph": "loss"}, {"graph": "two layers"}, {"graph": "detached"}, {"graph": "no gradient at all"}]

    def perform(self, answer, case):
        tensors, result = self._graph(case["graph"])
        found = answer(result)
        if not isinstance(found, set | frozenset | list | tuple):
            return {"kind of it": type(found).__name__, "names": [], "functions": False}
        names = [next((name for name, t in tensors.items() if t is one), "another tensor") for one in found]
        return {"kind of it": "set", "names": names, "functions": any(hasattr(f, "next_functions") for f in found)}

    def _graph(self, name: str) -> tuple[dict[str, Tensor], Tensor]:
        w, v, cut, x = (torch.ones(2, requires_grad=needed) for needed in (True, True, True, False))
        tensors = {"w": w, "v": v, "cut": cut, "x": x}
        if name == "detached":
            return tensors, (w * v).detach()
        if name == "no gradient at all":
            return tensors, x * 2
        if name == "two layers":
            layer, other = nn.Linear(3, 2), nn.Linear(2, 1)
            other.bias.requires_grad_(False)
            tensors = {"weight 1": layer.weight, "bias 1": layer.bias, "weight 2": other.weight, "bias 2": other.bias}
            return tensors, other(layer(torch.ones(4, 3)).relu()).mean()
        deep = w * x
        for _ in range(30):
            deep = deep + v
        return tensors, (deep * cut.detach()).sum()

    def judge(self, case, seen):
        names = seen["names"]
        if seen["kind of it"] != "set":
            empty = " Behind a tensor without a graph there is nothing: an empty set." * (case["graph"] in EMPTY)
            raise Wrong(f"Your function returned a {seen['kind of it']}; it must return a set of tensors.{empty}")
        if seen["functions"]:
            raise Wrong("The set holds functions: the leaf itself is `function.variable`, where a function has one.")
        if case["graph"] in EMPTY and names:
            raise Wrong(
                f"Behind a tensor without a graph there is nothing; you found {len(names)}: return an empty set."
            )
        if len(names) > len(set(names)) and case["graph"] == "loss" and "another tensor" not in names:
            raise Wrong(f"One leaf is used 30 times; your {len(names)} tensors hold it more than once: gather a set.")
        right = {"loss": {"v", "w"}, "two layers": {"weight 1", "bias 1", "weight 2"}}.get(case["graph"], set())
        if case["graph"] == "loss" and set(names) == {"v"}:
            raise Wrong("A leaf far behind the loss is missing: follow the next_functions of every function you meet.")
        if set(names) != right or len(names) != len(right):
            made = "of 2 leaves, a detached one and a constant"
            if case["graph"] != "loss":
                made = "by two layers, the second one's bias without gradient: 3 leaves"
            raise Wrong(f"The loss was made {made}; you found {len(names)} tensors: {', '.join(names) or 'none'}.")


EMPTY = ("detached", "no gradient at all")
RECEIVE = {  # a step of the MLP GAN -> (tensors of G, tensors of D) with a gradient after it; what to think of
    "D step, fakes made under no_grad": ((0, 8), "What is made under no_grad has no graph, as if it were detached."),
    "D step, no detach, first layer of G frozen": ((6, 8), "The graph reaches G; a layer has two tensors."),
    "G step, last layer of D frozen": ((8, 6), "D computes the loss of G: what of D is not frozen is a leaf too."),
    "G step, all of D frozen but its first layer": ((8, 2), "Each tensor counts by itself: frozen or not."),
    "G step, D frozen, last layer of G frozen": ((6, 0), "A frozen layer takes no gradient, but lets it pass."),
}


class receive(Exercise, number="4.2"):
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
            pair = prediction[step]
            if isinstance(pair, Tensor):
                pair = pair.tolist()
            if not isinstance(pair, list) or len(pair) != 2:
                raise Wrong(f"{step}: it is {shown(pair)}; write a pair of numbers, (G, D).")
            if None in pair:
                raise Wrong(f"{step}: this one is not filled in yet.")
            if tuple(pair) != right:
                raise Wrong(f"{step}: it is not {tuple(pair)}. {hint}")


class frozen(Exercise, number="4.3"):
    """answer(generator, discriminator, z) -> G's gradients of -log D(G(z)), D frozen meanwhile and restored after."""

    may_change = frozenset({"gradients", "requires_grad"})  # judged by what D is afterwards
    advice = (
        ("does not require grad", "No gradient reached G: its images must not be detached, nor made by no_grad."),
    )

    def cases(self):
        draw = torch.Generator().manual_seed(43)
        tiny = {"g": [[[0.5]]], "d": [[[2.0]]], "z": torch.tensor([[1.0], [3.0]])}
        sizes = {"g": [(3, 2), (3,), (4, 3), (4,)], "d": [(3, 4), (3,), (1, 3), (1,)]}
        large = {key: [torch.randn(*size, generator=draw) for size in value] for key, value in sizes.items()}
        return [tiny, large | {"z": torch.randn(5, 2, generator=draw)}]

    def perform(self, answer, case):
        generator, discriminator = self._networks(case)
        needed = []
        discriminator.register_forward_pre_hook(
            lambda *_: needed.append([p.requires_grad for p in discriminator.parameters()])
        )
        found = answer(generator, discriminator, case["z"])
        return {
            "out": found,
            "needed": needed,
            "trainable": [p.requires_grad for p in [*generator.parameters(), *discriminator.parameters()]],
            "d_gradients": any(p.grad is not None for p in discriminator.parameters()),
        }

    def _networks(self, case) -> tuple[nn.Module, nn.Module]:
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

    def judge(self, case, seen):
        generator, discriminator = self._networks(case)
        out, parameters = seen["out"], list(generator.parameters())
        if not isinstance(out, list) or len(out) != len(parameters):
            many = f" of {len(out)}" if isinstance(out, list) else f" {shown(out)}"
            raise Wrong(f"Your function returned{many}; return a list, the gradient of each parameter of G.")
        if any(gradient is None for gradient in out):
            raise Wrong("No gradient reached G: call backward() on its loss, on images that are not detached.")
        d = discriminator(generator(case["z"]))
        losses = {"right": -d.log().mean(), "saturating": (1 - d).log().mean(), "sum": -d.log().sum()}
        of = {k: torch.autograd.grad(loss, parameters, retain_graph=True) for k, loss in losses.items()}
        of = {k: torch.cat([gradient.flatten() for gradient in each]) for k, each in of.items()}
        wrong_shape = [
            p.shape for p, g in zip(parameters, out, strict=True) if not hasattr(g, "shape") or g.shape != p.shape
        ]
        if wrong_shape:
            raise Wrong(f"A gradient has not the shape of its parameter, {tuple(wrong_shape[0])}: keep their order.")
        mistakes = [
            (of["saturating"], "This is the gradient of the saturating loss, log(1 - D(G(z)))."),
            (-of["saturating"], "This is the gradient of D's loss: G wants the label 1 for its images."),
            (-of["right"], "The sign is wrong: the loss is -log D(G(z)), and G makes it smaller."),
            (of["sum"], "This is the sum over the batch; the loss is the mean."),
        ]
        together = torch.cat([gradient.flatten() for gradient in out])
        expect(together, of["right"], mistakes, "A gradient is {seen}; expected {expected}.", atol=1e-5)
        count = sum(map(any, zip(*seen["needed"], strict=True)))
        if count:
            raise Wrong(
                f"D was not frozen while it judged the fakes: {count} of its {len(list(discriminator.parameters()))} "
                "parameter tensors still wanted a gradient, so the graph has them. Freeze all of them before."
            )
        if not all(seen["trainable"]):
            raise Wrong("D stays frozen, or G: the next step would learn nothing. Restore requires_grad.")
        if seen["d_gradients"]:
            raise Wrong("D holds gradients afterwards, which its next step would add to its own.")
