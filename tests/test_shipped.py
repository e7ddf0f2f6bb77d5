"""The run that comes with labutils is whole, and a name that does not is refused."""

import pytest
import torch

from labutils import runs


def test_the_shipped_run_reads_whole():
    run = runs.load_run(runs.shipped("mlp_report"))
    assert run.epochs >= 1
    assert run.sample_epochs() == list(range(run.epochs + 1))
    assert [run.grid(epoch).size for epoch in run.sample_epochs()] == [(242, 242)] * (run.epochs + 1)
    with torch.no_grad():
        images = run.generator()(torch.randn(4, 100))
        assert images.abs().max() <= 1
        assert run.discriminator()(images).shape == (4, 1)


def test_a_run_that_is_not_shipped_is_refused_with_those_that_are():
    with pytest.raises(runs.RunError, match=r"No run 'nosuch' comes with labutils; there are: .*mlp_report"):
        runs.shipped("nosuch")
