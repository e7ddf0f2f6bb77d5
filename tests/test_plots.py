"""The pictures show the numbers and samples that a run holds."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from labutils import plots
from labutils.training import TrainConfig, train


@pytest.fixture(scope="module")
def run(digits, tmp_path_factory):
    config = TrainConfig(epochs=3, images=64, batch_size=32, device="cpu", precision="float32", threads=1)
    return train(config, tmp_path_factory.mktemp("plots") / "run", images=digits.images, progress=False)


def drawn(axes) -> dict:
    """What each labelled curve of more than two points shows."""
    return {line.get_label(): list(line.get_ydata()) for line in axes.get_lines() if len(line.get_ydata()) > 2}


def test_loss_curves_draw_every_column_under_its_own_name(run):
    left, right = plots.loss_curves(run.history).axes
    column = {key: [row[key] for row in run.history] for key in run.history[0]}
    assert drawn(left) == {
        "D, epoch mean": column["d_loss"],
        "D, last batch": column["d_loss_last"],
        "G, epoch mean": column["g_loss"],
        "G, last batch": column["g_loss_last"],
    }
    assert drawn(right) == {
        "D correct: real": column["d_accuracy_real"],
        "D's mean output: real": column["d_real"],
        "D correct: generated": column["d_accuracy_fake"],
        "D's mean output: generated": column["d_fake"],
    }
    levels = sorted(line.get_ydata()[0] for line in left.get_lines() if len(line.get_ydata()) == 2)
    assert levels == pytest.approx([np.log(2), 2 * np.log(2)])


def test_sample_grids_and_progress_show_the_grids_of_their_epochs(run):
    figure = plots.sample_grids(run, [0, 3, 1], columns=2)
    shown = [(axes.get_title(), axes.get_images()[0].get_array()) for axes in figure.axes if axes.get_images()]
    assert [title for title, _ in shown] == ["epoch 0", "epoch 3", "epoch 1"]
    for (_, image), epoch in zip(shown, (0, 3, 1), strict=True):
        np.testing.assert_array_equal(image, np.array(run.grid(epoch)))
    np.testing.assert_array_equal(plots.progress(run).axes[0].get_images()[0].get_array(), np.array(run.grid(3)))


def test_show_digits_puts_them_row_by_row():
    images = torch.linspace(-1, 1, 3).reshape(3, 1, 1, 1).expand(3, 1, 28, 28)
    canvas = plots.show_digits(images, columns=2).axes[0].get_images()[0].get_array()
    assert [canvas[15, 15], canvas[15, 45], canvas[45, 15], canvas[45, 45]] == [-1, 0, 1, 1]


def record(row, seed, epoch, **more):
    return {
        "row": row,
        "averaged": False,
        "seed": seed,
        "epoch": epoch,
        "cpu_seconds": 10.0 * epoch,
        "diverged": False,
    } | more


STUDY = [  # two runs of one row; of the other, one run with two generators and one run that diverged
    record("a", 0, 1, frechet=8.0, coverage=0.1),
    record("a", 0, 2, frechet=4.0, coverage=0.3),
    record("a", 1, 1, frechet=6.0, coverage=0.0),
    record("a", 1, 2, frechet=2.0, coverage=0.5),
    record("b", 0, 2, frechet=3.0, coverage=0.2),
    record("b", 0, 2, frechet=1.0, coverage=0.4, averaged=True),
    record("b", 1, 2, diverged=True),
]


def test_study_boxes_draw_a_dot_for_each_seed_and_count_what_diverged():
    last = [record for record in STUDY if record["epoch"] == 2]
    figure = plots.study_boxes(last, {"frechet": "distance", "coverage": "share"}, {"frechet": 0.5, "coverage": 0.9})
    left, right = figure.axes
    names = [label.get_text() for label in left.get_yticklabels()]
    assert names == ["a (2 seeds)", "b (2 seeds, 1 diverged)", "b, averaged (1 seed)"]
    assert left.get_ylim() == (2.5, -0.5)
    for axes, dots, real in ((left, [[4, 2], [3], [1]], 0.5), (right, [[0.3, 0.5], [0.2], [0.4]], 0.9)):
        drawn = [line for line in axes.get_lines() if line.get_marker() == "o"]
        assert [list(line.get_xdata()) for line in drawn] == dots
        assert [round(np.mean(line.get_ydata())) for line in drawn] == [0, 1, 2]
        assert [line.get_xdata()[0] for line in axes.get_lines() if line.get_linestyle() == "--"] == [real]
    assert (left.get_xscale(), right.get_xscale()) == ("log", "linear")
    assert (left.get_xlabel(), right.get_xlabel()) == ("distance", "share")


def test_along_epochs_draws_each_run_and_the_median_against_both_clocks():
    figure = plots.along_epochs(STUDY, "frechet", "distance", real=0.5)
    for axes, factor in zip(figure.axes, (1, 10), strict=True):
        thin = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines() if line.get_lw() == 0.8]
        assert ([factor, 2 * factor], [8, 4]) in thin
        assert ([factor, 2 * factor], [6, 2]) in thin
        thick = {line.get_label(): line for line in axes.get_lines() if line.get_lw() == 2.5}
        assert list(thick) == ["a (2 seeds)", "b (2 seeds, 1 diverged)", "b, averaged (1 seed)"]
        assert list(thick["a (2 seeds)"].get_xdata()) == [factor, 2 * factor]
        assert list(thick["a (2 seeds)"].get_ydata()) == [7, 3]
        assert len({line.get_color() for line in thick.values()}) == 3
    assert figure.axes[0].get_ylabel() == "distance"


def test_the_collapse_meter_shows_the_shares_coverage_and_the_verdict():
    shares = tuple(share / 55 for share in range(1, 11))
    quality = SimpleNamespace(shares=shares, coverage=0.4, expected_coverage=0.97)
    said = " ".join(["Variety is lost."] * 20)
    figure = plots.collapse_meter(quality, said, title="a run")
    left, right = figure.axes
    assert [bar.get_height() for bar in left.patches] == pytest.approx([100 * share for share in shares])
    assert left.get_lines()[0].get_ydata()[0] == 10
    assert [bar.get_height() for bar in right.patches] == [0.4]
    assert right.get_lines()[0].get_ydata()[0] == 0.97
    assert [text.get_text() for text in right.texts] == ["real: 0.97", "0.40"]
    words = figure.get_supxlabel()
    assert words.replace("\n", " ") == said
    assert "\n" in words  # broken into lines that fit
    assert figure.get_suptitle() == "a run"
