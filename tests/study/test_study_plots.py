"""The pictures of a study show the numbers of its records."""

from types import SimpleNamespace

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
    record("a", 1, 1, frechet=6.0, coverage=0.05),
    record("a", 1, 2, frechet=2.0, coverage=0.5),
    record("b", 0, 2, frechet=3.0, coverage=0.2),
    record("b", 0, 2, frechet=1.0, coverage=0.4, averaged=True),
    record("b", 1, 2, diverged=True),
]
DEAD = record("a", 2, 2, frechet=900.0, coverage=0.001)


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


def test_a_dead_run_is_a_cross_and_in_no_box_and_no_median():
    figure = plots.study_boxes([record for record in [*STUDY, DEAD] if record["epoch"] == 2], {"frechet": "distance"})
    lines = figure.axes[0].get_lines()
    assert [list(line.get_xdata()) for line in lines if line.get_marker() == "x"] == [[900], [], []]
    assert [list(line.get_xdata()) for line in lines if line.get_marker() == "o"] == [[4, 2], [3], [1]]
    assert figure.axes[0].get_yticklabels()[0].get_text() == "a (3 seeds, 1 dead)"
    drawn = plots.along_epochs([*STUDY, DEAD], "frechet", "distance").axes[0].get_lines()
    assert next(list(line.get_ydata()) for line in drawn if line.get_lw() == 2.5) == [7, 3]


def test_along_epochs_takes_cost_where_every_record_has_it():
    found = [record | {"cost": 3.0 * record["epoch"]} for record in STUDY]
    left, right = plots.along_epochs(found, "frechet", "distance").axes
    assert (left.get_xlabel(), right.get_xlabel()) == ("epoch", "cost (epochs of the original MLP)")
    assert max(max(line.get_xdata()) for line in right.get_lines()) == 6


def test_strips_of_verdicts_lie_along_the_budget():
    claims = {"one": [(1, 3, "holds"), (3, 10, "undecided")], "two": [(2, 10, "does not hold")]}
    (axes,) = plots.verdict_strips(claims).axes
    bars = [(bar.get_x(), bar.get_x() + bar.get_width(), round(bar.get_y() + 0.3)) for bar in axes.patches]
    assert bars == [(1, 3, 0), (3, 10, 0), (2, 10, 1)]
    assert len({bar.get_facecolor() for bar in axes.patches}) == 3
    assert [label.get_text() for label in axes.get_yticklabels()] == ["one", "two"]


def test_nothing_to_draw_gets_a_sentence():
    for draw in (
        lambda: plots.study_boxes([], {"frechet": "distance"}),
        lambda: plots.study_boxes(STUDY, {}),
        lambda: plots.verdict_strips({}),
        lambda: plots.along_epochs([], "frechet", "distance"),
        lambda: plots.along_epochs(STUDY, "kid", "distance"),
    ):
        with pytest.raises(ValueError, match=r"^There is nothing to draw: .*\.$"):
            draw()


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
