"""Distances between two sets of features, and to the nearest image: pure functions of tensors (N, features).

They are short and our own: `tests/quality/test_metrics.py` holds them to torch-fidelity and prdc.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

NEIGHBOURS = 5  # k of density, coverage, precision and recall (Naeem et al. 2020)
SUBSET = 1_000  # images in one of KID's at most ten subsets (Binkowski et al. 2018)
GROUP = 200  # samples that are left out at a time, to see how far chance moves a number
PART = 100  # rows of a matrix of distances at a time: they stay near the processor


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance, in float64."""
    return features.double().mean(0), features.double().T.cov()


def frechet_distance(mean: Tensor, covariance: Tensor, real_mean: Tensor, real_covariance: Tensor) -> float:
    """|m - m'|^2 + tr(C + C' - 2 (C C')^1/2), in float64; never below 0, whatever rounding would say.

    By eigenvalues of symmetric matrices, which are real however singular C is: (C C')^1/2 has the trace of
    (C'^1/2 C C'^1/2)^1/2.
    """
    values, vectors = torch.linalg.eigh(real_covariance)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ covariance @ root).clamp(min=0).sqrt().sum()
    gap = (mean - real_mean).square().sum()
    return float((gap + covariance.trace() + real_covariance.trace() - 2 * cross).clamp(min=0))


def kernel_distance(features: Tensor, real: Tensor) -> dict[str, float]:
    """KID, {"kid", "kid_sd"}: mean and standard deviation of the unbiased squared MMD over disjoint subsets."""
    estimates = []
    for x, y in list(zip(features.double().split(SUBSET), real.double().split(SUBSET), strict=False))[:10]:
        if len(x) == len(y) == SUBSET:
            xx, yy, xy = (((a @ b.T) / a.shape[1] + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
            within = sum((m.sum() - m.trace()) / (SUBSET * (SUBSET - 1)) for m in (xx, yy))
            estimates.append(within - 2 * xy.mean())
    sd, mean = torch.std_mean(torch.stack(estimates))
    return {"kid": float(mean), "kid_sd": float(sd)}


def neighbourhoods(features: Tensor, real: Tensor, real_radii: Tensor | None = None) -> dict[str, float]:
    """Density and coverage (Naeem et al. 2020), precision and recall (Kynkaanniemi et al. 2019), with k = 5.

    The neighbourhood of an image reaches as far as its k-th nearest among its like. `real_radii`: `radii(real)`.
    """
    return near(features, real, radii(real) if real_radii is None else real_radii).summary()


@dataclass(frozen=True)
class Near:
    """Which samples lie near which real images, by groups of GROUP samples (G groups; the last may be smaller)."""

    inside: Tensor  # (N,), in how many neighbourhoods of real images each sample lies
    covered: Tensor  # (G, M), bool: has the real image a sample of the group in its neighbourhood
    recalled: Tensor  # (G, M), bool: does the real image lie in the neighbourhood of a sample of the group

    def summary(self, but: int | None = None) -> dict[str, float]:
        """The four numbers; without group `but`, for an estimate of how far chance moves them."""
        groups = [i for i in range(len(self.covered)) if i != but]
        inside = torch.cat([part for i, part in enumerate(self.inside.split(GROUP)) if i != but]).double()
        return {
            "density": float(inside.mean() / NEIGHBOURS),
            "coverage": float(_any(self.covered[groups]).double().mean()),
            "precision": float((inside > 0).double().mean()),
            "recall": float(_any(self.recalled[groups]).double().mean()),
        }


def near(features: Tensor, real: Tensor, real_radii: Tensor) -> Near:
    """See `Near`; `real_radii`: `radii(real)`."""
    inside, covered, recalled = [], [], []
    for group in features.split(GROUP):
        in_group = []
        for part in group.split(PART):
            reach = _kth(part, features)
            squared = _squared_distances(part, real)  # (PART, len(real))
            close = squared < real_radii
            inside.append(close.sum(1, dtype=torch.int32))  # which takes a third of the time that int64 does
            in_group.append((_any(close), _any(squared < reach[:, None])))
        for found, parts in zip((covered, recalled), zip(*in_group, strict=True), strict=True):
            found.append(_any(torch.stack(parts)))
    return Near(torch.cat(inside), torch.stack(covered), torch.stack(recalled))


def another(features: Tensor) -> Tensor:
    """The nearest other of each of (N, features): (N,)."""
    squared = _squared_distances(features, features)
    return squared.fill_diagonal_(torch.inf).argmin(1)


def _any(x: Tensor) -> Tensor:
    """x.any(0) of booleans, in a fortieth of the time."""
    return x.view(torch.uint8).amax(0).bool()


def radii(features: Tensor) -> Tensor:
    """Squared distance of each image to its k-th nearest among the others."""
    return torch.cat([_kth(part, features) for part in features.split(PART)])


def _kth(part: Tensor, features: Tensor) -> Tensor:
    return _squared_distances(part, features).topk(NEIGHBOURS + 1, largest=False).values[:, -1]


def squared_norms(images: Tensor) -> Tensor:
    """Of each of (N, pixels), in parts: a square of all images would take as much memory as they do."""
    return torch.cat([part.square().sum(1) for part in images.split(1_000)])


def nearest(images: Tensor, real: Tensor, norms: Tensor) -> Tensor:
    """Distance of each of (N, pixels) to the nearest of `real` (M, pixels), `norms` being squared_norms(real)."""
    parts = zip(real.split(4_000), norms.split(4_000), strict=True)
    least = torch.stack([torch.addmm(norm, images, part.T, alpha=-2).amin(1) for part, norm in parts]).amin(0)
    return (least + images.square().sum(1)).clamp(min=0).sqrt()


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    return torch.addmm(y.square().sum(1), x, y.T, alpha=-2).add_(x.square().sum(1, keepdim=True))
