"""Checks of notebook 05: the generator's loss, a walk on the sphere, and the mean of an epoch."""

import math

import torch

from labutils.exercises.answer import Exercise
from labutils.exercises.expect import Wrong, expect, expect_number, expect_tensor


class generator_step_loss(Exercise, number="5.1"):
    """answer(probabilities (N, 1)) -> the non-saturating loss -E[log D(G(z))], a scalar tensor."""

    def cases(self):
        return [{"probabilities": torch.tensor(p)[:, None]} for p in ([0.5, 0.1, 0.8], [0.3, 0.9], [0.01] * 7)]

    def perform(self, answer, case):
        probabilities = case["probabilities"].requires_grad_()
        out, gradient = answer(probabilities), None
        if isinstance(out, torch.Tensor) and out.numel() == 1 and out.requires_grad:
            (gradient,) = torch.autograd.grad(out, probabilities, allow_unused=True)
        return {"out": out, "gradient": gradient}

    def judge(self, case, seen):
        probabilities, out = case["probabilities"].double(), seen["out"]
        logs, complement = probabilities.log(), (1 - probabilities).log()
        if not isinstance(out, torch.Tensor) or out.numel() != 1:
            raise Wrong("Return one number as a tensor, the mean over the batch.")
        right = -logs.mean().item()
        mistakes = [
            (-right, "The sign is wrong: an optimiser makes its loss smaller, so G would make D(G(z)) smaller."),
            (complement.mean(), "This is the saturating loss, log(1 - D(G(z))); the original report trains the other."),
            (-complement.mean(), "This is D's loss on fakes, label 0; G wants the label 1 for them."),
            (-logs.sum(), "This is the sum over the batch; take the mean, or the step grows with the batch."),
            (right / math.log(2), "This is in bits (log to base 2); use the natural logarithm: at D = 1/2, ln 2."),
            (right / math.log(10), "This is to base 10; use the natural logarithm: at D = 1/2 the loss is ln 2."),
        ]
        given = ", ".join(f"{p:g}" for p in probabilities.flatten().tolist())
        otherwise = f"For D(G(z)) = {given} the loss is {{seen}}; expected {{expected}}."
        expect(expect_number(out), right, mistakes, otherwise, atol=1e-5)
        if seen["gradient"] is None:
            raise Wrong(
                "The value is right but carries no gradient: no .item(), .detach() or torch.tensor(...) inside."
            )
        expect(
            seen["gradient"], -1 / probabilities / len(probabilities), [], "The value is right, but not its gradient."
        )


class slerp(Exercise, number="5.2"):
    """answer(a (D,), b (D,), t) -> the point at t on the arc of the sphere from a to b."""

    def cases(self):
        a, b = torch.zeros(2, 100)
        a[0], b[1] = 10.0, 10.0
        far = a / 2 + b * math.sqrt(3) / 2  # 60 degrees from a
        unit = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.6, 0.0, 0.8])
        pairs = [(a, b, 0.0), (a, b, 1 / 3), (a, b, 1 / 2), (a, far, 0.5), (a / 4, far / 4, 0.25), (*unit, 0.3)]
        return [dict(zip("abt", pair, strict=True)) for pair in pairs]

    def judge(self, case, seen):
        a, b, t = case.values()
        out, line = expect_tensor(seen["out"], a.shape), (1 - t) * a + t * b
        norm, cosine = a.norm(), (a @ b / a.norm() / b.norm()).item()
        theta = math.acos(cosine)

        def arc(angle, t=t):
            return (math.sin((1 - t) * angle) * a + math.sin(t * angle) * b) / math.sin(angle)

        degrees, unnormalised = math.degrees(theta), math.acos(max(-1, min(1, (a @ b).item())))
        mistakes = [
            (arc(theta, 1 - t), "It runs from b to a; the walk must start at a: exchange the two weights."),
            (line, "This is the straight line, whose norm falls in the middle. Use the two sines."),
            (line * norm / line.norm(), "The straight line pushed back to the sphere: its steps are not equal."),
            (arc(degrees), "The angle is in degrees: sin wants it in radians."),
            (a * math.cos(t * math.pi / 2) + b * math.sin(t * math.pi / 2),
             "It is right for perpendicular a and b only: the angle must be computed from them."),
            (arc(theta) / norm, "The point lies on the sphere of norm 1; a and b have another norm."),
        ]  # fmt: skip
        if unnormalised > 1e-6:
            mistakes += [(arc(unnormalised), "The cosine is a @ b / (|a| |b|): divide by both norms.")]
        angle = f"Between a and b of norm {norm:.4g}, {degrees:.0f} degrees apart, at t = {t:.2f}"
        expect(out, arc(theta), mistakes, f"{angle}, component {{at}} is {{seen}}; expected {{expected}}.", atol=1e-3)


class epoch_mean(Exercise, number="5.3"):
    """answer(losses, sizes) -> the mean in which each image counts once."""

    def cases(self):
        pairs = [([1.0, 3.0, 8.0], [128, 128, 64]), ([2.0, 0.5], [100, 1]), ([0.7], [96])]
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
