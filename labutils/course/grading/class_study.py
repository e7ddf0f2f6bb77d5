"""The class as a study: its verified runs as records like the shipped ones, and what they say beside these."""

import statistics

from labutils.study import records as shipped_records
from labutils.study.comparisons import compare, is_dead, share

NOT_COMPARED = {"epochs", "seed", "device", "precision", "threads"}  # settings that make no other row of a study


def _kind(config: dict) -> tuple:
    """What of the settings makes a row; settings that are off, or that older runs lack, are none."""
    return tuple(sorted((k, str(v)) for k, v in config.items() if k not in NOT_COMPARED and v not in (None, 0, False)))


def records(rows: list[dict]) -> list[dict]:
    """A record for each verified and scored run, in the form of `labutils.study.records`; seeds are the students'."""
    names = {_kind(record["config"]): record["row"] for record in reversed(shipped_records())}
    found = []
    for row in rows:
        for run in row["runs"].values():
            if run["verified"] and run.get("quality"):
                kind, config = _kind(run["config"]), run["config"]
                same = {
                    "row": names.get(kind, _said(config)),
                    "group": "class",
                    "seed": config["seed"],
                    "config": config,
                }
                same |= {"epoch": run["epochs"], "diverged": False, "cpu_seconds": run["cost"], "seconds": run["cost"]}
                found.append(same | {"generator_parameters": run["generator_parameters"]} | run["quality"])
    return found


def _said(config: dict) -> str:
    plain = {"batch_size": 128, "z_dim": 100, "lr": 2e-4, "beta1": 0.5, "init": "weights_init", "loss": "nonsaturating"}
    plain |= {"model": config.get("model"), "batch_norm": "both"}
    odd = [f"{k}={v}" for k, v in sorted(config.items()) if k not in NOT_COMPARED and v not in (None, 0, plain.get(k))]
    return " ".join([str(config.get("model", "")).upper(), *odd])


def table(found: list[dict]) -> list[dict]:
    """A line for each row and epoch: how many live, the spread, and the lab's own study at the same epoch."""
    groups, lab = {}, {}
    for record in found:
        groups.setdefault((record["row"], record["epoch"], record["averaged"]), []).append(record)
    for record in shipped_records():
        lab.setdefault((record["row"], record["epoch"], record["averaged"]), []).append(record)
    lines = []
    for key, members in sorted(groups.items()):
        told = f"{alive(lab[key])}; {_spread(lab[key])}" if key in lab else "not scored at this epoch"
        line = {"row": key[0] + ", averaged" * key[2], "epoch": key[1], "runs": len(members), "lab": told}
        lines.append(line | {"alive": alive(members), "spread": _spread(members)})
    return lines


CLAIMS = {  # of the original report's, those that two runs a student can speak to: number, which side, claim
    "DCGAN's digits are nearer to real ones": ("frechet", "lower"),
    "DCGAN's digits are more varied": ("coverage", "higher"),
    "DCGAN's digits are cleaner": ("precision", "higher"),
}


def claims(found: list[dict]) -> list[str]:
    """What the class says of each claim, beside the lab's own study; a sentence each, for the two commonest rows."""
    rows = {}
    for model in ("dcgan", "mlp"):
        names = [record["row"] for record in found if record["config"].get("model") == model]
        rows[model] = max(names, key=names.count, default=None)
    if None in rows.values():
        return []
    lab, said = shipped_records(), []
    for claim, (metric, sense) in CLAIMS.items():
        both = [compare(claim, of, rows["dcgan"], metric, sense, rows["mlp"], "the end") for of in (found, lab)]
        parts = [
            "{} {:.2f} ({:.2f} to {:.2f}), {} of {} and {} of {} alive".format(name, *c.p, *c.alive[0], *c.alive[1])
            for name, c in zip(("the class", "the lab's study"), both, strict=True) if all(c.values)
        ]  # fmt: skip
        said.append(f"{claim}: the probability of it for two runs taken at random is, by {'; by '.join(parts)}.")
    return said


def alive(members: list[dict]) -> str:
    """How many live, of how many, with the 95% interval of the share."""
    count = sum(not is_dead(record) for record in members)
    low, high = share(count, len(members))
    return f"{count} of {len(members)} ({low:.0%} to {high:.0%})"


def _spread(members: list[dict]) -> str:
    living = [record["frechet"] for record in members if not is_dead(record)]
    return f"{statistics.median(living):.1f} ({min(living):.1f} to {max(living):.1f})" if living else "none lives"
