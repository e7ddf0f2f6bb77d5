"""The runs that come with labutils are whole, and a name that does not is refused."""

import pytest
import torch

from labutils import runs, study
from labutils.study.one_run import read_scores


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


@pytest.mark.parametrize("model", ["MLP", "DCGAN"])
def test_two_rows_of_the_study_with_one_training_have_one_course(model):
    """The plain row of the remedies is the start of the long row, with an average made on the side and other pauses."""
    rows = {row.name: row for row in study.load_study().rows}
    plain, long = (
        [study.SHIPPED / rows[f"{model}, {name}"].slug / f"seed={seed}" for seed in range(5)]
        for name in ("plain", "weights_init")
    )
    pairs = [pair for pair in zip(plain, long, strict=True) if all(place.is_dir() for place in pair)]
    assert pairs
    for pair in pairs:
        short, whole = (runs.load_run(place).history for place in pair)
        for key in ("d_loss", "g_loss", "d_fake"):
            assert [epoch[key] for epoch in short] == [epoch[key] for epoch in whole[: len(short)]]
        scores = [
            {p["epoch"]: p["frechet"] for p in read_scores(place)["scores"] if not p["averaged"]} for place in pair
        ]
        both = scores[0].keys() & scores[1].keys()
        assert len(both) >= 3
        assert [scores[0][epoch] for epoch in both] == [scores[1][epoch] for epoch in both]
