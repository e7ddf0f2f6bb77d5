"""What came of a study: its records, tables over the seeds, and the copy that ships with labutils."""

import json
import math
import os
import shutil
import statistics
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from labutils import __version__
from labutils.engine.files import said_in_a_sentence
from labutils.engine.paths import expanded
from labutils.runs import RunError, load_run, read_tensors, write_history, write_tensors
from labutils.study.comparisons import is_dead, share
from labutils.study.one_run import generators_of, read_scores, scored, shipped_of, spent
from labutils.study.rows import SHIPPED, Entry, Study, read_study, write_study

METRICS = ("frechet", "kid", "density", "coverage", "precision", "recall")  # columns of a table, if no others are named


def records(folder: str | Path | None = None) -> list[dict]:
    """All scores of a study (default: of the shipped one), a dictionary each, in the order of its rows, seeds, epochs.

    Keys: row, group, seed, epoch, averaged, diverged, cpu_seconds and seconds of training up to there,
    generator_parameters, discriminator_parameters, config (TrainConfig's fields), machine (in words), and what the
    score function gave; where the folder has costs.json also cost: of the training up to there, in epochs of the
    original report's MLP. A run that diverged has a record without scores for each later epoch that its row measures.
    """
    folder, found = expanded(folder or SHIPPED), []
    costs = json.loads((folder / "costs.json").read_text("utf8"))["step"] if (folder / "costs.json").exists() else {}
    for entry in read_study(folder).rows:
        for seed in range(entry.seeds):
            place = entry.place(folder, seed)
            if not (kept := read_scores(place)):
                continue
            run = load_run(place)
            same = {"row": entry.name, "group": entry.group, "seed": seed, "config": run.config["train"]}
            same |= {key: kept[key] for key in ("generator_parameters", "discriminator_parameters")}
            about = defaultdict(str, run.config["machine"])
            same["machine"] = "{device}, {precision}, torch {torch}, {system}".format_map(about)
            since = len(found)
            found += [same | {"diverged": False} | point for point in kept["scores"]]
            later = [epoch for epoch in entry.measure if epoch > run.epochs] if kept["diverged"] else []
            for epoch in later:
                for averaged in generators_of(run):
                    found.append(same | {"epoch": epoch, "averaged": averaged, "diverged": True} | spent(run))
            if entry.name in costs:
                epoch = costs[entry.name] * 128 / run.config["train"]["batch_size"]
                found[since:] = [record | {"cost": epoch * record["epoch"]} for record in found[since:]]
    return found


def table(records: list[dict], at_cost: float | None = None) -> list[dict]:
    """A line for each (row, averaged, epoch) of some records, in their order: who lives, and numbers of the living.

    With `at_cost` instead one line for each (row, averaged): of each run the last score within that cost, math.inf
    taking the last of all.
    Keys: row, group, averaged, epoch, seeds, alive, diverged, machines (runs of each); for every number its mean, sd,
    median, min and max over the living, or over all runs if it is no score: cost, seconds.
    """
    if at_cost is not None:
        reached = [record for record in records if record.get("cost", 0) <= at_cost]
        records = list({(r["row"], r["averaged"], r["seed"]): r for r in reached}.values())  # the last of each remains
    groups = {}
    for record in records:
        epoch = record["epoch"] if at_cost is None and "run_of" not in record else None
        groups.setdefault((record["row"], record["averaged"], epoch), []).append(record)
    return [_line(members) for members in groups.values()]


def _line(members: list[dict]) -> dict:
    same = ("row", "group", "averaged", "generator_parameters", "discriminator_parameters")
    line = {key: members[0][key] for key in same} | {"seeds": len(members), "run_of": members[0].get("run_of")}
    living = [member for member in members if not is_dead(member)]
    line |= {"alive": len(living), "diverged": sum(member["diverged"] for member in members)}
    line |= {"machines": Counter(member.get("machine", "") for member in members)}
    line["epoch"] = statistics.mean(member["epoch"] for member in members)
    names = {key: None for member in members for key in member if key not in (*line, "seed", "config", "machine")}
    for name in names:
        of = members if name in ("cost", "cpu_seconds", "seconds", "score_seconds") else living
        values = [m[name] for m in of if isinstance(m.get(name), int | float) and not isinstance(m[name], bool)]
        if values:
            sd = statistics.stdev(values) if len(values) > 1 else None
            of = {"mean": statistics.fmean(values), "sd": sd, "median": statistics.median(values)}
            line[name] = of | {"min": min(values), "max": max(values)}
    return line


def markdown(lines: list[dict], metrics: tuple[str, ...] = METRICS) -> str:
    """Lines of `table` as a Markdown table: who lives, with its 95% interval; of the living mean ± standard deviation.

    Where the deviation is more than half the mean the lowest to the highest instead. Cost is in epochs of the original
    report's MLP; where it is not known, CPU seconds. Runs of more than one machine are counted apart: 5 + 10.
    """
    costs = any("cost" in line for line in lines)
    columns = {"cost": "cost"} if costs else {"cpu_seconds": "CPU s"}
    columns |= {metric: metric for metric in metrics if any(metric in line for line in lines)}
    rows = [["row", "epoch", "alive", *columns.values()], ["---", *["---:"] * (2 + len(columns))]]
    for line in lines:
        name = (line["row"] + ", averaged" * line["averaged"]).replace("|", "\\|")
        name += f" (runs of {line['run_of']})" if line.get("run_of") else ""
        rows.append([name, f"{line['epoch']:.3g}", alive(line), *(_cell(line.get(column)) for column in columns)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def alive(line: dict) -> str:
    """How many of a line's runs live, of how many, and the 95% interval of that share."""
    of = " + ".join(map(str, line["machines"].values()))
    diverged = f", {line['diverged']} diverged" * bool(line["diverged"])
    low, high = share(line["alive"], line["seeds"])
    return f"{line['alive']} of {of}{diverged} ({low:.0%} to {high:.0%})"


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
    `ship_weights` also generators, in float16. Of others there is nothing in the destination afterwards.
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
    for averaged in shipped_of(entry, run):
        name = f"generator{'_average' * averaged}.safetensors"
        halve(place / name, to / name)


def halve(path: Path, to: Path) -> None:
    """Copy a network's weights as float16, at half the size; a run that is loaded makes float32 of them again."""
    tensors, about = read_tensors(path)
    write_tensors(to, {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}, about)


def merge(study: Study, source: str | Path, folder: str | Path) -> int:
    """Take the finished runs of the study in `source`, made on another machine, into `folder`; returns how many.

    Of each it takes what `ship` does; those that are there already are left. RunError, and nothing is taken, if one
    does not belong to `study`, is of another labutils or of other images, or if an unfinished one is in its place.
    """
    source, folder = expanded(source), expanded(folder)
    jobs = [(_own(study, entry), seed) for entry, seed in read_study(source).jobs() if scored(entry, seed, source)]
    jobs = [job for job in jobs if _belongs(*job, source, folder)]
    write_study(study, folder)
    with said_in_a_sentence(folder), tempfile.TemporaryDirectory(prefix=".merge-", dir=folder) as new:
        for entry, seed in jobs:
            _copy_small(entry, seed, source, Path(new))
        for entry, seed in jobs:
            entry.place(folder, seed).parent.mkdir(exist_ok=True)
            entry.place(Path(new), seed).rename(entry.place(folder, seed))
    return len(jobs)


def _own(study: Study, entry: Entry) -> Entry:
    """The study's own row of that name."""
    for own in study.rows:
        if own.name == entry.name:
            return own
    raise RunError(f"This study has no row {entry.name!r}: add it to the TOML file.")


def _belongs(entry: Entry, seed: int, source: Path, folder: Path) -> bool:
    """Whether a run is to be taken, false if it is there already; RunError says why it cannot be."""
    place, what = entry.place(folder, seed), f"{entry.name}, seed {seed}, of {source}"
    kept, run = read_scores(entry.place(source, seed)), load_run(entry.place(source, seed)).config
    missing = set(entry.measure) - {point["epoch"] for point in kept["scores"]}
    if not scored(entry, seed, source) or (missing and not kept["diverged"]):
        raise RunError(f"{what} was trained with other settings, or scored after other epochs, than this study's row.")
    if seed >= entry.seeds:
        raise RunError(f"{what}: the row has {entry.seeds} seeds here. Raise `seeds` in the TOML file.")
    if (version := run["machine"].get("labutils")) != __version__:
        raise RunError(f"{what} was made by labutils {version}, this is {__version__}: make it with the same version.")
    there = [path for path in sorted(folder.glob("*/seed=*")) if (path / "quality.json").exists()]
    if there and load_run(there[0]).config["data"] != run["data"]:
        raise RunError(f"{what} was trained on other images than {there[0]}.")
    if place.exists() and not scored(entry, seed, folder):
        raise RunError(f"{place} holds a run that is not finished, or of other settings: delete it, or let it finish.")
    return not place.exists()


def machines(records: list[dict]) -> str:
    """A sentence: how many of the runs were made on which kind of machine."""
    runs = {(r["row"], r["seed"]): r["machine"] for r in records if "run_of" not in r}
    return "Runs: " + "; ".join(f"{count} on {name}" for name, count in Counter(runs.values()).most_common()) + "."
