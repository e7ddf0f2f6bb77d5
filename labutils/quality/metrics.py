"""Distances between two sets of features, and to the nearest image: pure functions of tensors (N, features).

They are short and our own: `tests/quality/test_metrics.py` holds them to torch-fidelity and prdc.
"""

import torch
from torch import Tensor

NEIGHBOURS = 5  # k of density, coverage, precision and recall (Naeem et al. 2020)
SUBSET = 1_000  # images in one of KID's at most ten subsets (Binkowski et al. 2018)
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
    real_radii = radii(real) if real_radii is None else real_radii
    inside, covered, recalled = [], torch.zeros(len(real), dtype=torch.bool), torch.zeros(len(real), dtype=torch.bool)
    for part, reach in zip(features.split(PART), radii(features).split(PART), strict=True):
        squared = _squared_distances(part, real)  # (PART, len(real))
        near = squared < real_radii
        inside.append(near.sum(1, dtype=torch.int32))  # which takes a third of the time that int64 does
        covered |= _any(near)
        recalled |= _any(squared < reach[:, None])
    inside = torch.cat(inside).double()
    return {
        "density": float(inside.mean() / NEIGHBOURS),
        "coverage": float(covered.double().mean()),
        "precision": float((inside > 0).double().mean()),
        "recall": float(recalled.double().mean()),
    }


def _any(x: Tensor) -> Tensor:
    """x.any(0) of booleans, in a fortieth of the time."""
    return x.view(torch.uint8).amax(0).bool()


def radii(features: Tensor) -> Tensor:
    """Squared distance of each image to its k-th nearest among the others."""
    parts = (_squared_distances(part, features) for part in features.split(PART))
    return torch.cat([part.topk(NEIGHBOURS + 1, largest=False).values[:, -1] for part in parts])


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
