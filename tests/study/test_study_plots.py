"""The pictures of a study show the numbers of its records."""

import numpy as np
import pytest

from labutils.study import plots


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


def test_nothing_to_draw_gets_a_sentence():
    for draw in (
        lambda: plots.study_boxes([], {"frechet": "distance"}),
        lambda: plots.study_boxes(STUDY, {}),
        lambda: plots.along_epochs([], "frechet", "distance"),
        lambda: plots.along_epochs(STUDY, "kid", "distance"),
    ):
        with pytest.raises(ValueError, match=r"^There is nothing to draw: .*\.$"):
            draw()
