"""What speaks against a hand-in, in its row and in others': a flag cannot be so, a look proves nothing."""

from collections import Counter, defaultdict

from labutils.course.grading import evidence, pages
from labutils.runs import RunError, load_run, shipped


def raise_all(rows: list[dict], rubric, text: list[dict], code: list[dict]) -> None:
    """Give each row its "flags", {"code", "kind": "flag" or "look", "text"} each."""
    _twins(rows)
    numbers = Counter(row["number"] for row in rows if row["number"] and not row["unreadable"])
    for row in rows:
        row["flags"] = []
        if row["unreadable"]:
            _flag(row, "unreadable", row["unreadable"])
            continue
        if not row["number"]:
            _flag(row, "number", "Neither its name nor its content says whose it is.")
        elif row["number_inside"] != row["number"]:
            _flag(row, "number", f"The file is of {row['number']}, its content of {row['number_inside'] or 'nobody'}.")
        if numbers[row["number"]] > 1:
            _flag(row, "twice", f"There are {numbers[row['number']]} hand-ins of {row['number']}.")
        for name, run in row["runs"].items():
            for finding in run["findings"]:
                if finding["state"] == "no":
                    _flag(row, finding["check"], f"{run.get('as') or name}: {pages.say(finding, 'en')}")
        named = {evidence.kind(run) for run in row["runs"].values()}
        if missing := [name for name in rubric.runs if name not in named]:
            _flag(row, "missing", f"There is no run {' and none '.join(missing)}.")
        for problem in row["problems"]:
            _flag(row, "parts", problem, "look")
        _exercises(row)
    keys, who = {row["key"]: row for row in rows}, {row["key"]: row["number"] or row["source"] for row in rows}
    for code_name, pairs, what in (("text", text, "question"), ("code", code, "exercise")):
        others = defaultdict(lambda: defaultdict(list))
        for pair in pairs:
            for one, other in (pair["of"], pair["of"][::-1]):
                others[one][other].append(pair[what])
        for one, alike in others.items():
            for other, where in alike.items():
                _flag(keys[one], code_name, f"Like {who[other]} in {what} {', '.join(sorted(where))}.", "look")


def _flag(row: dict, code: str, text: str, kind: str = "flag") -> None:
    row["flags"].append({"code": code, "kind": kind, "text": text})


def _exercises(row: dict) -> None:
    for number, exercise in row["exercises"].items():
        if exercise["suspects"]:
            _flag(row, "suspect", f"Exercise {number} uses {', '.join(exercise['suspects'])}.", "look")
        if row["claimed"].get(number) == "right" and exercise["state"] in ("wrong", "error"):
            _flag(row, "claims", f"Exercise {number} is said to be right; here: {exercise['sentence'][:200]}", "look")


def _twins(rows: list[dict]) -> None:
    """Add findings where two students' runs are one: to whose seed it is not, or to both where that cannot be told."""
    runs = [(row, run) for row in rows for run in row["runs"].values() if run.get("config")]
    ours = list(_shipped())
    pairs = [(i, j, "twin", far) for i, j, far in evidence.twins([run for _, run in runs] + [run for _, run in ours])]
    histories = defaultdict(list)
    for i, (_, run) in enumerate(runs):
        histories[str(run["losses"])].append(i)
    pairs += [(same[0], j, "history", 0.0) for same in histories.values() for j in same[1:]]
    suspected = [not _sound(run) for _, run in runs]
    for i, j, check, far in pairs:
        if i >= len(runs):
            continue
        if j >= len(runs):
            if runs[i][1]["config"].get("seed") != ours[j - len(runs)][1]["config"].get("seed"):
                _accuse(runs[i][1], evidence.finding(check, "shipped", who=ours[j - len(runs)][0], far=far))
            continue
        one, other = runs[i], runs[j]
        same_seed = one[1]["config"].get("seed") == other[1]["config"].get("seed")
        if one[0] is other[0] or (same_seed and suspected[i] == suspected[j]):
            continue  # one's own runs, or the default seed of both
        for (_, run), (whose, _), bad, rival in (
            (one, other, suspected[i], suspected[j]),
            (other, one, suspected[j], suspected[i]),
        ):
            if bad or not rival:
                _accuse(run, evidence.finding(check, "no", who=whose["number"] or whose["source"], far=far))


def _sound(run: dict) -> bool:
    """Whether the evidence of a run, looked at alone, says that it is its owner's."""
    return not any(finding["state"] == "no" for finding in run["findings"])


def _accuse(run: dict, finding: dict) -> None:
    if finding["state"] == "shipped":
        finding |= {"state": "no", "why": "shipped"}
    run["findings"].append(finding)
    run["verified"] = False


def _shipped():
    """(name, run) of the generators that come with the lab."""
    folders = [shipped(name) for name in ("mlp_report", "mlp_default")] + sorted(
        shipped("mlp_report").parents[1].glob("study/*/seed=0")
    )
    for folder in folders:
        for averaged in (False, True):
            try:
                run = load_run(folder)
                yield (
                    folder.parent.name + "/" + folder.name,
                    {"config": run.config["train"]} | evidence.probe(run.generator(averaged)),
                )
            except RunError:
                continue
