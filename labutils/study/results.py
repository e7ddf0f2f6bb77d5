"""What came of a study: its records, tables over the seeds, and the copy that ships with labutils."""

import math
import os
import shutil
import statistics
import tempfile
from pathlib import Path

from labutils.engine.files import said_in_a_sentence
from labutils.engine.paths import expanded
from labutils.runs import RunError, load_run, read_tensors, write_history, write_tensors
from labutils.study.one_run import generators_of, read_scores, scored, spent
from labutils.study.rows import SHIPPED, Entry, read_study, write_study

METRICS = ("frechet", "kid", "density", "coverage", "precision", "recall")  # columns of a table, if no others are named


def records(folder: str | Path | None = None) -> list[dict]:
    """All scores of a study (default: of the shipped one), a dictionary each, in the order of its rows, seeds, epochs.

    Keys: row, group, seed, epoch, averaged, diverged, cpu_seconds and seconds of training up to there,
    generator_parameters, discriminator_parameters, config (TrainConfig's fields), and what the score function gave.
    A run that diverged has a record without scores for each later epoch that its row measures.
    """
    folder, found = expanded(folder or SHIPPED), []
    for entry in read_study(folder).rows:
        for seed in range(entry.seeds):
            place = entry.place(folder, seed)
            if not (kept := read_scores(place)):
                continue
            run = load_run(place)
            same = {"row": entry.name, "group": entry.group, "seed": seed, "config": run.config["train"]}
            same |= {key: kept[key] for key in ("generator_parameters", "discriminator_parameters")}
            found += [same | {"diverged": False} | point for point in kept["scores"]]
            later = [epoch for epoch in entry.measure if epoch > run.epochs] if kept["diverged"] else []
            for epoch in later:
                for averaged in generators_of(run):
                    found.append(same | {"epoch": epoch, "averaged": averaged, "diverged": True} | spent(run))
    return found


def table(records: list[dict], at_cpu_seconds: float | None = None) -> list[dict]:
    """Mean, sd, median, min and max over seeds for each (row, averaged, epoch) of some records, in their order.

    With `at_cpu_seconds` instead one line for each (row, averaged): of each run the last score that it had reached
    within so many CPU seconds of training; math.inf takes the last score of all.
    """
    if at_cpu_seconds is not None:
        reached = [record for record in records if record["cpu_seconds"] <= at_cpu_seconds]
        records = list({(r["row"], r["averaged"], r["seed"]): r for r in reached}.values())  # the last of each remains
    groups = {}
    for record in records:
        key = (record["row"], record["averaged"], record["epoch"] if at_cpu_seconds is None else None)
        groups.setdefault(key, []).append(record)
    return [_line(members) for members in groups.values()]


def _line(members: list[dict]) -> dict:
    same = ("row", "group", "averaged", "generator_parameters", "discriminator_parameters")
    line = {key: members[0][key] for key in same} | {"seeds": len(members)}
    line["diverged"] = sum(member["diverged"] for member in members)
    line["epoch"] = statistics.mean(member["epoch"] for member in members)
    names = {key: None for member in members for key in member if key not in (*line, "seed", "config")}
    for name in names:
        values = [m[name] for m in members if isinstance(m.get(name), int | float) and not isinstance(m[name], bool)]
        if values:
            sd = statistics.stdev(values) if len(values) > 1 else None
            of = {"mean": statistics.fmean(values), "sd": sd, "median": statistics.median(values)}
            line[name] = of | {"min": min(values), "max": max(values)}
    return line


def markdown(lines: list[dict], metrics: tuple[str, ...] = METRICS) -> str:
    """Lines of `table` as a Markdown table: mean ± standard deviation over the seeds.

    Where the deviation is more than half the mean (some runs died, others did not) the lowest to the highest instead.
    """
    columns = {"cpu_seconds": "CPU s"} | {metric: metric for metric in metrics if any(metric in line for line in lines)}
    rows = [["row", "epoch", "seeds", *columns.values()], ["---", *["---:"] * (2 + len(columns))]]
    for line in lines:
        name = (line["row"] + ", averaged" * line["averaged"]).replace("|", "\\|")
        seeds = f"{line['seeds']}" + f", {line['diverged']} diverged" * bool(line["diverged"])
        rows.append([name, f"{line['epoch']:.3g}", seeds, *(_cell(line.get(column)) for column in columns)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(of: dict | None) -> str:
    """A number of `_line` over its seeds, with three digits where they are worth it."""
    if of is None:
        return ""
    mean, sd = of["mean"], of["sd"]
    decimals = min(3, max(0, 2 - math.floor(math.log10(abs(mean))))) if mean else 0
    if sd is None:
        return f"{mean:.{decimals}f}"
    ends = (mean, " ± ", sd) if sd <= abs(mean) / 2 else (of["min"], " to ", of["max"])
    return "{:.{d}f}{}{:.{d}f}".format(*ends, d=decimals)


def ship(folder: str | Path, destination: str | Path) -> int:
    """Copy what notebooks need of a study; returns how many bytes that are.

    Of each finished run: config.json, quality.json, history.csv in six digits, the last sample grid; of rows with
    `ship_weights` also the generators of seed 0, in float16. Of others there is nothing in the destination afterwards.
    All copies are made before the first takes its place: RunError if one cannot be, and nothing has changed.
    """
    folder, destination = expanded(folder), expanded(destination)
    study = read_study(folder)
    if destination.resolve() == folder.resolve():
        raise ValueError(f"{folder} is the study itself: name another folder to copy it to.")
    with said_in_a_sentence(destination):
        destination.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".ship-", dir=destination, ignore_cleanup_errors=True) as temporary:
            new, old = Path(temporary) / "new", Path(temporary) / "old"
            for entry, seed in study.jobs():
                if not scored(entry, seed, folder):
                    continue
                try:
                    _copy_small(entry, seed, folder, new)
                except RunError as error:
                    raise RunError(f"Nothing was copied. {error} `python -m labutils study` resumes it.") from None
            for entry, seed in study.jobs():
                made, to, away = (entry.place(place, seed) for place in (new, destination, old))
                if os.path.lexists(to):
                    away.parent.mkdir(parents=True, exist_ok=True)
                    to.rename(away)
                if made.exists():
                    to.parent.mkdir(parents=True, exist_ok=True)
                    made.rename(to)
    write_study(study, destination)
    return sum(path.stat().st_size for path in destination.rglob("*") if path.is_file())


def _copy_small(entry: Entry, seed: int, folder: Path, destination: Path) -> None:
    """What `ship` takes of a run."""
    place, to = entry.place(folder, seed), entry.place(destination, seed)
    run = load_run(place)
    run.grid(run.epochs)
    (to / "samples").mkdir(parents=True)
    for name in ("config.json", "quality.json", f"samples/epoch_{run.epochs:04d}.png"):
        shutil.copyfile(place / name, to / name)
    short = [{k: v if k == "epoch" else float(f"{v:.6g}") for k, v in epoch.items()} for epoch in run.history]
    write_history(to / "history.csv", short)
    for averaged in generators_of(run) if entry.ship_weights and seed == 0 else ():
        name = f"generator{'_average' * averaged}.safetensors"
        tensors, about = read_tensors(place / name)
        half = {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}
        write_tensors(to / name, half, about)
