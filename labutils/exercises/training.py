"""Checks of notebook 05: the loop around the two steps, the mean of an epoch, a walk on the sphere."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from labutils.exercises.answer import Exercise
from labutils.exercises.expect import Wrong, expect, expect_number, expect_tensor, kind, listed
from labutils.exercises.steps import Critic


class Spied(nn.Module):
    """A generator whose images show their noise z (N, 100) in the first hundred pixels."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, z):
        if z.shape[1:] != (100,) or z.dtype != torch.float32:
            raise ValueError(f"the generator takes z of shape (N, 100), float32; it got {tuple(z.shape)}, {z.dtype}")
        return F.pad(self.scale * z, (0, 684)).reshape(-1, 1, 28, 28)


class training_epoch(Exercise, number="5.3"):
    """answer(generator, discriminator, g_optimizer, d_optimizer, images, batch_size, d_step, g_step) -> list of losses.

    Images (N, 1, 28, 28); the list has a pair (L_D, L_G) for each batch.
    """

    may_change = frozenset({"random"})
    advice = (("takes z of shape", "draw torch.randn(len(real), 100)."),)

    def cases(self):
        return [{"images": count, "batch_size": size} for count, size in ((10, 4), (12, 4), (5, 8))]

    def perform(self, answer, case):
        images = torch.arange(case["images"]).float()[:, None, None, None].expand(-1, 1, 28, 28).clone()
        return {"epochs": [self._epoch(answer, images, case["batch_size"]) for _ in range(2)]}

    def _epoch(self, answer, images, batch_size) -> dict:
        calls, generator, discriminator = [], Spied(), Critic(784, 0)
        of_g, of_d = (torch.optim.SGD(net.parameters(), 0.1) for net in (generator, discriminator))

        def note(who, network, optimizer, fake, real=None):
            calls.append({
                "who": who, "network": network is discriminator, "graph": fake.requires_grad,
                "optimizer": optimizer is (of_d if who == "D" else of_g),
                "real": [] if real is None else real.detach()[:, 0, 0, 0].tolist(),
                "noise": fake.detach().flatten(1)[:, :100].clone(),
            })  # fmt: skip
            return torch.tensor(len(calls) / 8)

        def d_step(discriminator, optimizer, real, fake):
            return note("D", discriminator, optimizer, fake, real), torch.zeros(len(real), 1), torch.zeros(len(fake), 1)

        def g_step(discriminator, optimizer, fake):
            return note("G", discriminator, optimizer, fake)

        out = answer(generator, discriminator, of_g, of_d, images, batch_size, d_step, g_step)
        return {"calls": calls, "out": out}

    def judge(self, case, seen):
        for epoch in seen["epochs"]:
            self._judge_epoch(epoch, case)
        first, second = ([x for call in epoch["calls"] for x in call["real"]] for epoch in seen["epochs"])
        if case["images"] >= 10 and first == second:
            same = "Two epochs had the same order of the images: draw it anew in each, with no seed."
            file = "The images come in the order of the file: draw a new order by torch.randperm."
            raise Wrong(file if first == sorted(first) else same)
        noises = [call["noise"] for epoch in seen["epochs"] for call in epoch["calls"] if call["who"] == "D"]
        if len({tuple(z[0].tolist()) for z in noises}) < len(noises):
            raise Wrong("Two batches had the same noise: draw it anew for each, inside the loop, with no seed.")

    def _judge_epoch(self, epoch, case):
        calls, (count, size) = epoch["calls"], case.values()
        if kind(epoch["out"]) == "generator":
            raise Wrong("Your function yields, so nothing runs: append each pair to a list, and return that.")
        who = "".join(call["who"] for call in calls)
        sizes = [len(call["real"]) for call in calls if call["who"] == "D"]
        wanted = [min(size, count - start) for start in range(0, count, size)]
        if who != "DG" * len(sizes) or not who:
            raise Wrong(f"The steps came in the order {who or 'of none'}; each batch has one of D, then one of G.")
        for call in calls:
            if not call["network"] or not call["optimizer"]:
                raise Wrong(f"The {call['who']} step got another network or optimizer: both take D, and their own.")
        shown_images = [x for call in calls for x in call["real"]]
        if set(shown_images) - set(range(count)):
            raise Wrong("The D step got others than the images: it takes discriminator, optimizer, real, fake.")
        if missing := count - len(set(shown_images)):
            why = {len(wanted) - 1: ": the last, smaller one counts", len(wanted): ", and others twice: torch.randperm"}
            raise Wrong(f"Of {count} images {missing} never came, in batches of {sizes}{why.get(len(sizes), '')}.")
        if sizes != wanted:
            raise Wrong(f"The batches had {sizes} images; {count} images make {wanted}, each image once.")
        for d_call, g_call in zip(calls[::2], calls[1::2], strict=True):
            n = len(d_call["real"])
            for call in (d_call, g_call):
                if call["noise"].shape != (n, 100):
                    raise Wrong(f"{len(call['noise'])} fakes stood beside {n} real images: as many of each, always.")
            if len(g_call["noise"].unique(dim=0)) < len(g_call["noise"]):
                raise Wrong("Fakes of a batch had the same noise: draw a vector for each, torch.randn(len(real), 100).")
            if not g_call["graph"]:
                raise Wrong("The fakes of G's step have no graph, so G cannot learn: no detach(), no no_grad() here.")
        z = torch.cat([call["noise"] for call in calls])
        if z.min() >= 0:
            raise Wrong("The noise is never negative: torch.rand is uniform; the prior N(0, I) is torch.randn.")
        if not (abs(z.mean()) < 0.2 and abs(z.std() - 1) < 0.2):
            raise Wrong(f"The noise has mean {z.mean():.2f} and deviation {z.std():.2f}; expected N(0, 1): 0 and 1.")
        self._judge_losses(epoch["out"], len(sizes))

    def _judge_losses(self, out, batches):
        right = [[(2 * i + 1) / 8, (2 * i + 2) / 8] for i in range(batches)]
        mistakes = [
            ([pair[::-1] for pair in right], "Each pair is (L_D, L_G), in this order."),
            (right[-1:], "Only the last batch's losses came back: append each pair to a list."),
            ([*map(list, zip(*right, strict=True))], "Those are two lists; each batch has a pair of its own."),
            ([sum(one) / batches for one in zip(*right, strict=True)], "Return a pair for each batch, not the mean."),
        ]
        if isinstance(out, list):
            if any(isinstance(pair, list) and pair and isinstance(pair[0], list) for pair in out):
                raise Wrong("The D step returns three things; keep the first of them, the loss.")
            out = listed(out)
        names = [f"L_{who} of batch {i + 1}" for i in range(batches) for who in "DG"]
        say = f"You returned {{seen}} as {{at}}; expected {{expected}}; {batches} pair{'s'[: batches - 1]} (L_D, L_G)."
        expect(out, right, mistakes if batches > 1 else mistakes[:1], say, atol=1e-6, names=names)


class epoch_mean(Exercise, number="5.4"):
    """answer(losses, sizes) -> the mean in which each image counts once."""

    def cases(self):
        pairs = [([3.0, 8.0, 2.0], [128, 128, 64]), ([2.0, 0.5], [100, 1]), ([0.7], [96])]
        return [{"losses": losses, "sizes": sizes} for losses, sizes in pairs]

    def judge(self, case, seen):
        losses, sizes = case["losses"], case["sizes"]
        out, n = expect_number(seen["out"]), len(losses)
        total = sum(loss * size for loss, size in zip(losses, sizes, strict=True))
        right = total / sum(sizes)
        mistakes = [
            (losses[-1], "This is the last batch alone, the original report's way; an epoch has all its batches."),
            (sum(losses) / n, "Every batch counts the same here, but the last one has fewer images: weight by size."),
            (total / n, "You divide by the number of batches; divide by the number of images."),
            (total, "This is the sum over the images; divide by how many there are."),
        ]
        otherwise = f"Losses {losses} of batches of {sizes} have mean {{seen}}; expected {{expected}}."
        expect(out, right, mistakes, otherwise, atol=1e-6, rtol=0, near=1e-3)


class slerp(Exercise, number="5.5"):
    """answer(a (D,), b (D,), t) -> the point at t on the arc of the sphere from a to b."""

    def cases(self):
        a, b = torch.zeros(2, 100)
        a[0], b[1] = 10.0, 10.0
        far = a / 2 + b * math.sqrt(3) / 2  # 60 degrees from a
        unit = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.6, 0.0, 0.8])
        drawn = *F.normalize(torch.randn(2, 100, generator=torch.Generator().manual_seed(55))), 0.6
        pairs = [(a, b, 0.0), (a, b, 1 / 3), (a, b, 1 / 2), (a, far, 0.5), (a / 4, -far / 4, 0.25), (*unit, 0.3), drawn]
        return [dict(zip("abt", pair, strict=True)) for pair in pairs]

    def judge(self, case, seen):
        a, b, t = case.values()
        out, line = expect_tensor(seen["out"], a.shape, torch.float32), (1 - t) * a + t * b
        norm, cosine = a.norm(), (a @ b / a.norm() / b.norm()).item()
        theta = math.acos(cosine)

        def arc(angle, t=t):
            return (math.sin((1 - t) * angle) * a + math.sin(t * angle) * b) / math.sin(angle)

        mistakes = [
            (arc(theta, 1 - t), "It runs from b to a; the walk must start at a: exchange the two weights."),
            (arc(theta) * math.sin(theta), "Both weights must be divided by sin(theta)."),
            (line, "This is the straight line, whose norm falls in the middle. Use the two sines."),
            (line * norm / line.norm(), "The straight line pushed back to the sphere: its steps are not equal."),
            (arc(math.degrees(theta)), "The angle is in degrees: sin wants it in radians."),
            (a * math.cos(t * math.pi / 2) + b * math.sin(t * math.pi / 2),
             "It is right for perpendicular a and b only: the angle must be computed from them."),
            (arc(theta) / norm, "The point lies on the sphere of norm 1; a and b have another norm."),
        ]  # fmt: skip
        angle = f"Between a and b of norm {norm:.4g}, {math.degrees(theta):.0f} degrees apart, at t = {t:.2f}"
        say = f"{angle}, component {{at}} is {{seen}}; expected {{expected}}."
        say += " It is no number: acos takes the cosine, a @ b / (|a| |b|), with both norms." * bool(out.isnan().any())
        expect(out, arc(theta), mistakes, say, atol=1e-3, names=range(len(a)))
