"""What speaks against a hand-in, in its row and in others': a flag cannot be so, a look proves nothing."""

import functools
from collections import Counter, defaultdict

from labutils.course.grading import evidence, pages
from labutils.runs import RunError, load_run, shipped


def raise_all(rows: list[dict], rubric, text: list[dict], code: list[dict], language: str = "en") -> None:
    """Give each row its "flags", {"code", "kind": "flag" or "look", "text"} each."""
    said = pages.words()[language]
    _twins(rows)
    numbers = Counter(row["number"] for row in rows if row["number"] and not row["unreadable"])
    for row in rows:
        row["flags"] = []
        if row["unreadable"]:
            _flag(row, "unreadable", row["unreadable"])
            continue
        if not row["number"]:
            _flag(row, "number", said["said_nobody"])
        elif row["number_inside"] != row["number"]:
            inside = row["number_inside"] or "?"
            _flag(row, "number", said["said_number"].format(name=row["number"], inside=inside))
        if numbers[row["number"]] > 1:
            about = {"count": numbers[row["number"]], "number": row["number"], "made": row["made"] or "?"}
            about |= {"file": row["source"]}
            _flag(row, "twice", said["said_twice"].format(**about))
        for name, run in row["runs"].items():
            for finding in run["findings"]:
                if finding["state"] == "no":
                    _flag(row, finding["check"], f"{run.get('as') or name}: {pages.say(finding, language)}")
        named = {evidence.kind(run) for run in row["runs"].values()}
        if missing := [name for name in rubric.runs if name not in named]:
            _flag(row, "missing", said["said_missing"].format(names=", ".join(missing)))
        for problem in row["problems"]:
            _flag(row, "parts", problem, "look")
        _exercises(row, said)
    keys, who = {row["key"]: row for row in rows}, {row["key"]: row["number"] or row["source"] for row in rows}
    for code_name, pairs, what in (("text", text, "question"), ("code", code, "exercise")):
        others = defaultdict(lambda: defaultdict(list))
        for pair in pairs:
            for one, other in (pair["of"], pair["of"][::-1]):
                others[one][other].append(pair[what])
        for one, alike in others.items():
            for other, where in alike.items():
                sentence = said[f"said_{code_name}"].format(who=who[other], where=", ".join(sorted(where)))
                _flag(keys[one], code_name, sentence, "look")


def _flag(row: dict, code: str, text: str, kind: str = "flag") -> None:
    row["flags"].append({"code": code, "kind": kind, "text": text})


def _exercises(row: dict, said: dict[str, str]) -> None:
    for number, exercise in row["exercises"].items():
        if exercise["suspects"]:
            what = said["said_suspect"].format(number=number, what=", ".join(exercise["suspects"]))
            _flag(row, "suspect", what, "look")
        if row["claimed"].get(number) == "right" and exercise["state"] in ("wrong", "error"):
            what = said["said_claims"].format(number=number, sentence=exercise["sentence"][:200])
            _flag(row, "claims", what, "look")


def _twins(rows: list[dict]) -> None:
    """Add findings where two students' runs are one: to whose seed it is not, or to both where that cannot be told."""
    runs = [(row, run) for row in rows for run in row["runs"].values() if run.get("config")]
    ours = _shipped()
    pairs = [(i, j, "twin", far) for i, j, far in evidence.twins([run for _, run in runs] + [run for _, run in ours])]
    histories = defaultdict(list)
    for i, (_, run) in enumerate(runs):
        histories[str(run["losses"] or i)].append(i)  # before the first epoch all are alike
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


@functools.cache
def _shipped() -> list[tuple[str, dict]]:
    """(name, run) of the generators that come with the lab."""
    found, folders = [], [shipped(name) for name in ("mlp_report", "mlp_default")]
    folders += sorted(folders[0].parents[1].glob("study/*/seed=0"))
    for folder in folders:
        for averaged in (False, True):
            try:
                run = load_run(folder)
                about = {"config": run.config["train"]} | evidence.probe(run.generator(averaged))
                found.append((f"{folder.parent.name}/{folder.name}", about))
            except RunError:
                continue
    return found
