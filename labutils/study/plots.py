"""Pictures of scores: of one run, of a study's over the seeds and along the training; verdicts along the budget."""

import itertools
import statistics
import textwrap

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from labutils.plots import BLUE, ORANGE, ROLES, refuse_empty
from labutils.study.comparisons import is_dead

NO_RECORD = "there is no record"
VERDICTS = {"holds": "#009E73", "undecided": "#DDDDDD", "does not hold": "#CC79A7"}
COLOURS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito's


def collapse_meter(quality, words: str, title: str | None = None) -> Figure:
    """Draw a `labutils.quality.Quality` at a glance: the share of each digit, coverage beside what as many real digits
    reach, and below them `words`: those of its verdict.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.2), width_ratios=(5, 1), layout="constrained")
    left.bar(range(10), [100 * share for share in quality.shares], color=ROLES["fake"])
    left.axhline(10, color="black", lw=1, ls="--", label="even: 10%")
    left.set(xlabel="digit, as the classifier sees it", ylabel="share of the samples (%)", xticks=range(10))
    left.set_ylim(0, max(25, 105 * max(quality.shares)))  # one scale for all that are near even
    left.legend(fontsize=9, loc="lower right", bbox_to_anchor=(1, 1))
    right.bar([0], [quality.coverage], color=ROLES["fake"], width=0.8)
    right.axhline(quality.expected_coverage, color="black", lw=1, ls="--")
    right.text(0, quality.expected_coverage + 0.02, f"real: {quality.expected_coverage:.2f}", ha="center", fontsize=9)
    right.text(0, max(0.04, quality.coverage / 2), f"{quality.coverage:.2f}", ha="center", va="center", fontsize=11)
    right.set(xlabel="coverage", ylabel="share of real digits reached", xlim=(-0.6, 0.6), ylim=(0, 1.1), xticks=[])
    figure.supxlabel(textwrap.fill(words, 110), fontsize=10, ha="left", x=0.02)
    figure.suptitle(title)
    plt.close(figure)
    return figure


def study_boxes(records: list[dict], metrics: dict[str, str], real: dict | None = None, title=None) -> Figure:
    """Draw scores over the seeds: a panel for each metric, in it a box for each row's living runs, a dot for each.

    Args:
        records: those of `labutils.study.records` to draw, one for each run. A dead one is a cross, a diverged one
            is counted only.
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
            dead = [record[metric] for record in members if metric in record and is_dead(record)]
            axes.plot(dead, [i] * len(dead), "x", color="grey", ms=5)
            values = [record[metric] for record in members if metric in record and not is_dead(record)]
            how = {"orientation": "horizontal", "showfliers": False, "manage_ticks": False}
            axes.boxplot(values, positions=[i], widths=0.6, **how)
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
        figure.supxlabel("a dot is a seed, a cross a dead one; dashed: real digits", fontsize=9)
    plt.close(figure)
    return figure


def along_epochs(records: list[dict], metric: str, label: str, real: float | None = None, title=None) -> Figure:
    """Draw a metric along the training, against epochs and against cost: thin a run, thick the living's median.

    `label`: what the axis says; `real`: the value of real digits, drawn as a line. Where a record has no cost, against
    CPU seconds.
    """
    refuse_empty([record for record in records if metric in record], f"{NO_RECORD} with a {metric!r}")
    costs = all("cost" in record for record in records)
    spent = ("cost", "cost (epochs of the original MLP)") if costs else ("cpu_seconds", "training (CPU seconds)")
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.4), sharey=True, layout="constrained")
    for axes, (x, said) in zip(panels, (("epoch", "epoch"), spent), strict=True):
        for colour, (name, members) in zip(itertools.cycle(COLOURS), _by_row(records).items(), strict=False):
            scored = [record for record in members if metric in record]
            for seed in sorted({record["seed"] for record in scored}):
                run = [record for record in scored if record["seed"] == seed]
                axes.plot([r[x] for r in run], [r[metric] for r in run], color=colour, lw=0.8, alpha=0.5)
            living = [record for record in scored if not is_dead(record)]
            epochs = sorted({record["epoch"] for record in living})
            middle = [
                [statistics.median(r[key] for r in living if r["epoch"] == epoch) for epoch in epochs]
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


def verdict_strips(claims: dict[str, list[tuple[float, float, str]]], title=None) -> Figure:
    """Draw for each claim, by name, its `labutils.study.budgets` as a strip along the budget, a colour a verdict."""
    refuse_empty(claims, "name one claim at least")
    figure, axes = plt.subplots(figsize=(9, 1.5 + 0.4 * len(claims)), layout="constrained")
    for i, parts in enumerate(claims.values()):
        for low, high, verdict in parts:
            axes.barh(i, high - low, left=low, height=0.6, color=VERDICTS[verdict], edgecolor="white")
    axes.set_yticks(range(len(claims)), list(claims), fontsize=9)
    axes.set(ylim=(len(claims) - 0.5, -0.5), title=title)
    axes.set_xlabel("cost of each run at most (epochs of the original MLP)")
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in VERDICTS.values()]
    figure.legend(handles, list(VERDICTS), loc="outside lower center", ncols=3, fontsize=9)
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
    """How many runs there are, how many of them are dead at their last score, and how many diverged."""
    last = {r["seed"]: r for r in sorted(members, key=lambda r: r["epoch"])}.values()
    text, diverged = f"{len(last)} seed{'s' * (len(last) != 1)}", sum(r["diverged"] for r in last)
    dead = sum(map(is_dead, last)) - diverged
    return text + f", {dead} dead" * bool(dead) + f", {diverged} diverged" * bool(diverged)
