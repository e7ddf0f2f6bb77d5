"""The class as a study: its verified runs as records like the shipped ones, and what they say beside these."""

import functools
from dataclasses import fields

from labutils import study
from labutils.config import TrainConfig
from labutils.study.comparisons import FEW, compare, share

NOT_COMPARED = ("epochs", "seed", "device", "precision", "threads")  # settings that make no other row of a study
AVERAGE = ("ema", "ema_warmup")  # nor do these, if both have an average, or neither: they change no step


_lab = functools.cache(study.records)  # the lab's own; thousands of small files are read once


def _kind(config: dict, *but: str) -> str:
    """What of the settings makes a row, as a run's folder would be named; older runs lack some."""
    known = {field.name for field in fields(TrainConfig)} - {*NOT_COMPARED, *but}
    return TrainConfig(**{name: value for name, value in config.items() if name in known}).name


def records(rows: list[dict]) -> list[dict]:
    """A record for each verified and scored run, in the form of `labutils.study.records`; seeds are the students'."""
    names, found = {}, []
    for but in (AVERAGE, ()):  # the same decay of the average is nearer
        names |= {(_kind(r["config"], *but), r["averaged"]): r["row"] for r in reversed(_lab())}
    runs = [(row["number"] or row["key"], run) for row in rows for run in row["runs"].values() if run["verified"]]
    once = {(whose, str(run["config"])): run for whose, run in runs if run.get("quality")}  # of two hand-ins of one
    for run in once.values():
        config, averaged = run["config"], run["quality"]["averaged"]
        near = names.get((_kind(config, *AVERAGE), averaged), _kind(config))
        same = {"row": names.get((_kind(config), averaged), near), "group": "class", "seed": config["seed"]}
        same |= {"config": config, "epoch": run["epochs"], "diverged": False, "machine": run["machine"]["was"]}
        same |= {"cpu_seconds": run["cost"], "seconds": run["cost"]}
        same |= {f"{player}_parameters": run[f"{player}_parameters"] for player in ("generator", "discriminator")}
        found.append(same | run["quality"])
    return found


def table(found: list[dict], said: dict[str, str]) -> list[dict]:
    """A line for each row and epoch: how many live, the spread, and the lab's own study there; `said`: the words."""
    lab = {(line["row"], line["epoch"], line["averaged"]): line for line in study.table(_lab())}
    lines = []
    for line in sorted(study.table(found), key=lambda line: (line["row"], line["epoch"], line["averaged"])):
        beside = lab.get((line["row"], line["epoch"], line["averaged"]))
        told = "; ".join(_told(beside, said)) if beside else said["study_not"]
        name = {"row": line["row"] + said["study_averaged"] * line["averaged"], "epoch": line["epoch"], "lab": told}
        lines.append(name | {"runs": line["seeds"]} | dict(zip(("alive", "spread"), _told(line, said), strict=True)))
    return lines


def _told(line: dict, said: dict[str, str]) -> tuple[str, str]:
    """How many live, of how many, with the 95% interval of the share; and how good these are."""
    (low, high), of = share(line["alive"], line["seeds"]), line.get("frechet")
    alive = said["alive"].format(alive=line["alive"], count=line["seeds"], low=low, high=high)
    spread = said["spread"].format(median=of["median"], least=of["min"], most=of["max"]) if of else said["spread_none"]
    return alive, spread


CLAIMS = {"frechet": "lower", "coverage": "higher", "precision": "higher"}  # those that two runs a student can speak to


def claims(found: list[dict], said: dict[str, str]) -> list[str]:
    """What the class says of each claim, beside the lab's own study; a sentence each, for the two commonest rows."""
    rows = {}
    for model in ("dcgan", "mlp"):
        names = [record["row"] for record in found if record["config"].get("model") == model]
        rows[model] = max(names, key=names.count, default=None)
    if None in rows.values():
        return []
    lines = []
    for metric, sense in CLAIMS.items():
        parts = []
        for whose, of in (("class", found), ("lab", _lab())):
            c = compare("", of, rows["dcgan"], metric, sense, rows["mlp"], "the end")
            if all(c.values):
                (p, low, high), (count, runs) = c.p, zip(*c.alive, strict=True)
                about = {"p": p, "low": low, "high": high, "alive": count, "runs": runs}
                many = sum(map(len, c.values)) > 2 * FEW  # the exact test would take hours, and the interval decides
                verdict = ("holds" if low > 0.5 else "does" if high < 0.5 else "undecided") if many else c.verdict
                parts.append(said[f"claim_{whose}"].format(**about, verdict=said[f"verdict_{verdict.split()[0]}"]))
        if parts:  # of how digits look nothing is said where none lives
            lines.append(said["claim"].format(claim=said[f"claim_{metric}"], said="; ".join(parts)))
    return lines
