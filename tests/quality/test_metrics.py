"""The metrics are those of the libraries, and what is known analytically."""

import numpy as np
import prdc
import pytest
import torch
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from labutils.quality import defects, digit_classifier, metrics
from labutils.quality.classifier import see

N = 2_000


@pytest.fixture(scope="module")
def features(held_out):
    """(generated, real) features, of 2,000 blurred images and of 2,500 others."""
    return [see(digit_classifier(), x)[0] for x in (defects(N)["blurred"], held_out.images[N:4500])]


def test_the_frechet_distance_is_that_of_torch_fidelity(features):
    generated, real = map(metrics.moments, features)
    mine = metrics.frechet_distance(*generated, *real)
    theirs = fid_statistics_to_metric(*(fid_features_to_statistics(x.double()) for x in features), verbose=False)
    assert mine == pytest.approx(theirs["frechet_inception_distance"], rel=1e-9)
    traces = 2 * float(real[1].trace())  # they cancel for a set with itself, up to the rounding of the processor
    assert 0 <= metrics.frechet_distance(*real, *real) <= 1e-8 * traces


def test_the_frechet_distance_to_a_single_image_is_known(features):
    mean, covariance = metrics.moments(features[1])
    single = metrics.moments(features[0][:1].expand(N, 64))
    exact = float((single[0] - mean).square().sum() + covariance.trace())
    assert metrics.frechet_distance(*single, mean, covariance) == pytest.approx(exact, rel=1e-9)


def test_kid_is_that_of_torch_fidelity(features):
    generated, real = (x.double() for x in features)
    pairs = [(generated[:1000], real[:1000]), (generated[1000:], real[1000:2000])]
    settings = {"kid_subsets": 1, "kid_subset_size": 1000, "verbose": False}
    theirs = [kid_features_to_metric(*pair, **settings)["kernel_inception_distance_mean"] for pair in pairs]
    mine = metrics.kernel_distance(*features)
    assert mine["kid"] == pytest.approx(np.mean(theirs), rel=1e-9)
    assert mine["kid_sd"] == pytest.approx(np.std(theirs, ddof=1), rel=1e-6)


def test_kid_has_no_bias(features):
    same = [metrics.kernel_distance(features[1][torch.randperm(2500)], features[1])["kid"] for _ in range(3)]
    assert abs(np.mean(same)) < 0.02 * metrics.kernel_distance(*features)["kid"]


def test_neighbourhoods_are_those_of_prdc_and_torch_fidelity(features):
    mine, (generated, real) = metrics.neighbourhoods(*features), features
    theirs = prdc.compute_prdc(real.double().numpy(), generated.double().numpy(), nearest_k=5)
    assert mine == pytest.approx({key: float(value) for key, value in theirs.items()}, abs=0.001)
    settings = {"prc_neighborhood": 5, "prc_batch_size": 1000, "save_cpu_ram": False, "verbose": False}
    theirs = prc_features_to_metric(generated, real, **settings)
    assert {key: mine[key] for key in ("precision", "recall")} == pytest.approx(
        {key: theirs[key] for key in ("precision", "recall")}, abs=0.001
    )


def test_nearest_finds_the_nearest_image(digits, held_out):
    images, real = held_out.images[3:6].flatten(1), digits.images[:5_000].flatten(1)
    exact = torch.cdist(images.double(), real.double()).amin(1)
    assert metrics.nearest(images, real, real.square().sum(1)).double() == pytest.approx(exact, rel=1e-4)
    assert float(metrics.nearest(real[:1], real, real.square().sum(1))) == pytest.approx(0, abs=0.05)
