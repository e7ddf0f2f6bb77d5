"""Two pictures of a study's records: scores over the seeds, and scores along the training."""

import itertools
import statistics

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from labutils.plots import BLUE, ORANGE, refuse_empty

NO_RECORD = "there is no record"
COLOURS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito's


def study_boxes(records: list[dict], metrics: dict[str, str], real: dict | None = None, title=None) -> Figure:
    """Draw scores over the seeds: a panel for each metric, in it a box for each row of the study, a dot for each seed.

    Args:
        records: those of `labutils.study.records` to draw, one for each run; a diverged one is counted, not drawn.
        metrics: {metric: what its axis says}.
        real: {metric: value of real digits}, drawn as a line.
    """
    refuse_empty(records, NO_RECORD)
    refuse_empty(metrics, "name one metric at least")
    rows = _by_row(records)
    size = (4.2 + 2.6 * len(metrics), 1.4 + 0.42 * len(rows))
    figure, panels = plt.subplots(1, len(metrics), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for axes, (metric, label) in zip(panels[0], metrics.items(), strict=True):
        for i, members in enumerate(rows.values()):
            values = [record[metric] for record in members if metric in record]
            axes.boxplot(
                values, positions=[i], widths=0.6, orientation="horizontal", showfliers=False, manage_ticks=False
            )
            heights = [i + 0.12 * (k % 3 - 1) for k in range(len(values))]  # equal values must not hide one another
            axes.plot(values, heights, "o", color=BLUE, ms=5, alpha=0.7)
        if real:
            axes.axvline(real[metric], color="grey", ls="--", lw=1)
        axes.set(xlabel=label, xscale=_scale(metric))
    names = [f"{name} ({_count(members)})" for name, members in rows.items()]
    panels[0, 0].set_yticks(range(len(rows)), names, fontsize=9)
    panels[0, 0].set_ylim(len(rows) - 0.5, -0.5)  # the first row on top
    figure.suptitle(title)
    if real:
        figure.supxlabel("a dot is a seed; dashed: real digits", fontsize=9)
    plt.close(figure)
    return figure


def along_epochs(records: list[dict], metric: str, label: str, real: float | None = None, title=None) -> Figure:
    """Draw a metric along the training, against epochs and against CPU seconds: thin a run, thick the rows' medians.

    `label`: what the axis says; `real`: the value of real digits, drawn as a line.
    """
    refuse_empty([record for record in records if metric in record], f"{NO_RECORD} with a {metric!r}")
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.4), sharey=True, layout="constrained")
    for axes, x, said in ((panels[0], "epoch", "epoch"), (panels[1], "cpu_seconds", "training (CPU seconds)")):
        for colour, (name, members) in zip(itertools.cycle(COLOURS), _by_row(records).items(), strict=False):
            scored = [record for record in members if metric in record]
            for seed in sorted({record["seed"] for record in scored}):
                run = [record for record in scored if record["seed"] == seed]
                axes.plot([r[x] for r in run], [r[metric] for r in run], color=colour, lw=0.8, alpha=0.5)
            epochs = sorted({record["epoch"] for record in scored})
            middle = [
                [statistics.median(r[key] for r in scored if r["epoch"] == epoch) for epoch in epochs]
                for key in (x, metric)
            ]
            axes.plot(*middle, "o-", ms=4, color=colour, lw=2.5, label=f"{name} ({_count(members)})")
        if real is not None:
            axes.axhline(real, color="grey", ls="--", lw=1, label="real digits")
        axes.set(xlabel=said, yscale=_scale(metric))
    panels[0].set_ylabel(label)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9)
    figure.suptitle(title)
    plt.close(figure)
    return figure


def _scale(metric: str) -> str:
    return "log" if metric == "frechet" else "linear"  # from 1 to thousands; shares may be 0


def _by_row(records: list[dict]) -> dict[str, list[dict]]:
    rows = {}
    for record in records:
        rows.setdefault(record["row"] + ", averaged" * record["averaged"], []).append(record)
    return rows


def _count(members: list[dict]) -> str:
    """How many runs there are, and how many of them diverged."""
    seeds, diverged = ({r["seed"] for r in members if r["diverged"] >= least} for least in (False, True))
    return f"{len(seeds)} seed{'s' * (len(seeds) != 1)}" + f", {len(diverged)} diverged" * bool(diverged)
