"""The runs that come with labutils are whole, and a name that does not is refused."""

import pytest
import torch

from labutils import runs


@pytest.mark.parametrize("name", ["mlp_report", "mlp_default"])
def test_a_shipped_run_reads_whole(name):
    run = runs.load_run(runs.shipped(name))
    assert run.epochs == run.config["train"]["epochs"] == 100
    assert run.sample_epochs() == list(range(run.epochs + 1))
    assert [run.grid(epoch).size for epoch in run.sample_epochs()] == [(242, 242)] * (run.epochs + 1)
    with torch.no_grad():
        images = run.generator()(torch.randn(4, 100))
    assert images.shape == (4, 1, 28, 28)
    assert images.abs().max() <= 1


def test_the_shipped_runs_differ_in_initialisation_alone():
    one, other = (runs.load_run(runs.shipped(name)).config for name in ("mlp_report", "mlp_default"))
    differing = {key for key in one["train"] if one["train"][key] != other["train"][key]}
    assert differing == {"init"}
    assert one["data"] == other["data"]
    assert one["machine"] == other["machine"]


def test_a_run_that_is_not_shipped_is_refused_with_those_that_are():
    with pytest.raises(runs.RunError, match=r"No run 'nosuch' comes with labutils; there are: .*mlp_report"):
        runs.shipped("nosuch")
