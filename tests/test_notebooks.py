"""The notebooks as they are committed; how they are executed and shown is tested in tests/course/."""

import json
import math
import re
import statistics
from collections import Counter
from pathlib import Path

import nbformat
import pytest

from labutils.course.notebooks import KERNELSPEC, WIDGET
from labutils.course.suite import committed
from labutils.models import build, count_parameters
from labutils.study import SHIPPED, load_study, records, table
from labutils.study.comparisons import compare, is_dead, of_mean, paired, rank_test, with_all_seeds
from labutils.study.results import alive

ROOT = Path(__file__).parents[1]
PATHS = committed(ROOT)
NOTEBOOKS = {path.stem: nbformat.read(path, as_version=4) for path in PATHS}
README = (ROOT / "README.md").read_text("utf8")
SAID = " ".join(README.replace("\n> ", " ").split())
HEADINGS = ["## Summary", "## Questions for your report", "## References"]
each_notebook = pytest.mark.parametrize("name", NOTEBOOKS)


def code(name):
    return [cell for cell in NOTEBOOKS[name].cells if cell.cell_type == "code"]


def prose(name):
    return "\n\n".join(cell.source for cell in NOTEBOOKS[name].cells if cell.cell_type == "markdown")


def lines(cell):
    return [line for line in cell.source.splitlines() if line.strip()]


def texts(name):
    """All that a reader can see as text: sources, streams, and the textual forms of outputs."""
    for cell in NOTEBOOKS[name].cells:
        yield cell.source
        for output in cell.get("outputs", []):
            yield output.get("text", "")
            yield from (
                value for kind, value in output.get("data", {}).items() if kind.startswith(("text/", "image/svg"))
            )


def test_the_notebooks_are_there():
    first = ["01_theory", "02_data", "03_models", "04_graphs", "05_training", "06_dcgan", "07_stable_gans", "08_recipe"]
    assert list(NOTEBOOKS)[: len(first)] == first


@each_notebook
def test_it_is_committed_executed_from_first_to_last(name):
    assert [cell.execution_count for cell in code(name)] == list(range(1, len(code(name)) + 1))
    outputs = [output for cell in code(name) for output in cell.outputs]
    assert len(outputs) >= 5
    assert [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"] == []


@each_notebook
def test_it_has_the_parts_of_every_notebook(name):
    start = NOTEBOOKS[name].cells[0].source
    assert re.match(rf"# {name[:2]}  \S", start)
    assert "**You will be able to:**" in start
    assert "**Needs:**" in start
    assert re.findall(r"^## .*", prose(name), re.MULTILINE)[-3:] == HEADINGS
    exercises = sum("exercise" in cell.metadata for cell in code(name))
    assert exercises >= 2 or name == "09_report"  # which asks for the report


@each_notebook
def test_readme_says_the_same_minutes_to_run_and_to_work_through(name):
    said = r"^\*\*Minutes:\*\* (\d+) on a 2-core laptop to run, about (\d+) to work through$"
    minutes = re.search(said, NOTEBOOKS[name].cells[0].source, re.MULTILINE)
    row = re.search(rf"^\| \[{name}\]\(notebooks/{name}\.ipynb\) \|.*\| (\d+), (\d+) \|$", README, re.MULTILINE)
    assert row.groups() == minutes.groups()


def test_readme_says_the_verdicts_of_the_comparison():
    outputs = [output.get("text", "") for cell in code("06_dcgan") for output in cell.outputs]
    verdicts = re.findall(r"^(\d\w?\. .*?) +((?:equal epochs|the end): .*)$", "\n".join(outputs), re.MULTILINE)
    assert len(verdicts) == 12
    for claim, verdict in verdicts:
        assert f"| {claim} | {verdict} |" in README


def test_readme_says_of_the_study_what_its_records_say():
    seeds = Counter(row.seeds for row in load_study().rows)
    assert f"a study of {seeds.total()} configurations: {seeds[5]} rows with five seeds, {seeds[3]} with three" in SAID
    ends = {line["row"]: line for line in table(records(), at_cost=math.inf) if not line["averaged"]}
    mlp, dcgan, recipe = (ends[name] for name in ("MLP, weights_init", "DCGAN, weights_init", "Recipe"))
    told = {name: alive(line).removesuffix(")").replace(" (", "|").split("|") for name, line in ends.items()}
    assert f"{told['MLP, weights_init'][0]} runs live at the end (95% interval of that share: " in SAID
    assert f"of that share: {told['MLP, weights_init'][1]}), of DCGAN" in SAID
    assert f"of DCGAN {told['DCGAN, weights_init'][0]} ({told['DCGAN, weights_init'][1]})" in SAID
    f, c = mlp["frechet"], mlp["coverage"]
    whole = f"100 epochs, {told['MLP, weights_init'][0]} seeds alive: Fréchet {f['min']:.1f} to {f['max']:.1f}, "
    assert whole + f"coverage {c['min']:.2f} to {c['max']:.2f}" in SAID
    best = min((r for r in records() if r["row"] == "MLP, weights_init"), key=lambda r: r["frechet"])
    assert f"distance of {f['min']:.1f}, at its best, at epoch {best['epoch']}, one of {best['frechet']:.1f}." in SAID
    cost = recipe["cost"]["mean"] / recipe["epoch"]
    assert f"those 6 epochs are {6 * cost:.0f} of the original report's 100, and the recipe's whole 32 epochs " in SAID
    assert f"whole {recipe['epoch']} epochs {recipe['cost']['mean']:.0f}." in SAID
    assert dcgan["epoch"] == 20
    following = next(x for x in table(records(), at_cost=math.inf) if x["row"] == "Recipe, hybrid" and x["averaged"])
    reached = [f"{following[m]['mean']:.3f}"[1:] for m in ("precision", "recall", "coverage")]
    assert f"of the next recipe {following['seeds']} of 5." in SAID
    finished = f"Its {following['seeds']} finished seeds reach {following['frechet']['mean']:.1f}, "
    assert finished + "{}, {} and {} on average: ".format(*reached) in SAID
    goals = zip(("precision", "recall", "coverage"), (0.92, 0.9, 0.9), strict=True)
    met = (following["frechet"]["mean"] <= 5) + sum(following[m]["mean"] >= goal for m, goal in goals)
    last = [r for r in records() if r["row"] == "Recipe, hybrid" and r["averaged"] and r["epoch"] == following["epoch"]]
    whole = sum(r["frechet"] <= 5 and r["precision"] >= 0.92 and min(r["recall"], r["coverage"]) >= 0.9 for r in last)
    counts = ("none", "one", "two", "three", "four", "five")
    assert f" on average: {counts[met]} of the four; {counts[whole]} of the seeds has all four." in SAID
    low, high = of_mean([r["frechet"] for r in last])
    assert f"The 95% interval of that mean distance, {low:.1f} to {high:.1f}, holds the 5;" in SAID
    assert low < 5 < high
    of = [r for r in records() if r["row"] in ("Recipe", "Recipe, hybrid") and r["averaged"]]
    senses = {"frechet": "lower", "precision": "higher", "recall": "higher", "coverage": "higher"}
    beside = [compare("", of, "Recipe, hybrid", m, s, "Recipe", "the end") for m, s in senses.items()]
    assert {c.verdict for c in beside} == {"holds"}
    assert {(c.pairs, f"{c.exact:.2g}"[1:]) for c in beside} == {((25, 0, 0), ".0079")}
    assert "in each of the four (25 of 25 pairs, p = .0079)." in SAID
    row = next(row for row in load_study().rows if row.name == "MLP, rate 1e-3")
    run = {r["seed"] for r in records() if r["row"] == row.name}
    assert f"of that MLP {len(run)} of {row.seeds} seeds" in SAID
    rows = ("DCGAN, plain", row.name)
    senses = {
        "precision": "lower",
        "frechet": "higher",
        "recall": "lower",
        "coverage": "lower",
        "smallest_share": "lower",
    }
    ends = [r for r in records() if r["row"] in rows and r["averaged"]]
    found = [compare("", ends, rows[0], m, s, rows[1], "equal cost") for m, s in senses.items()]
    assert [c.verdict for c in found] == ["holds", "holds", "does not hold", "holds", "holds"]
    assert {c.alive for c in found} == {((3, 3), (10, 10))}
    cost = max(r["cost"] for r in ends if r["row"] == rows[1])
    assert max(r["epoch"] for r in ends if r["row"] == rows[0] and r["cost"] <= cost) == 4
    told = f"at a cost of {cost:.0f}, which buys DCGAN four epochs, claims 4a, 4b, 5b and 5c hold, and 5a does not."
    of = [r["frechet"] for r in ends if r["row"] == rows[1] and r["epoch"] == 20]
    then = f"after 8 epochs and after 20 (Fréchet {min(of):.0f} to {max(of):.0f} then); beside it, "
    assert "it lives in 10 of 10 seeds (69% to 100%), " + then + told in SAID
    for epoch in (8, 20):
        lived = [r for r in records() if r["row"] == rows[1] and r["epoch"] == epoch and not is_dead(r)]
        assert len(lived) == 2 * row.seeds  # with and without an average


def test_what_is_said_of_the_rounded_runs_is_what_they_gave():
    rounded = json.loads((ROOT / "benchmarks" / "results" / "rounded.json").read_text("utf8"))
    assert [(r["seed"], r["epoch"]) for r in rounded] == [(seed, 8) for seed in range(10)]
    lived = [r["frechet"] for r in rounded if not is_dead(r)]
    of = [r["frechet"] for r in records() if (r["row"], r["epoch"], r["averaged"]) == ("MLP, rate 1e-3", 8, True)]
    beside = f"Fréchet {min(lived):.0f} to {max(lived):.0f} beside {min(of):.0f} to {max(of):.0f} in"
    assert f"{len(lived)} of 10 live, {beside} float32." in " ".join(
        (ROOT / "docs" / "plan.md").read_text("utf8").split()
    )
    assert len(of) == len(lived) == 10
    assert "the same ten seeds live too, after 8 epochs." in " ".join(prose("05_training").split())


def test_another_round_of_costs_gives_the_same_verdicts():
    """docs/plan.md says so, and how far the costs of that round are from those that are used."""
    used = json.loads((SHIPPED / "costs.json").read_text("utf8"))["step"]
    again = json.loads((ROOT / "benchmarks" / "results" / "costs_again.json").read_text("utf8"))["step"]
    moved = [again[name] / used[name] - 1 for name in used]
    plan = (ROOT / "docs" / "plan.md").read_text("utf8")
    assert f"gave costs between {-min(moved):.0%} less and {max(moved):.0%} more." in plan
    both = [[r | {"cost": r["cost"] * costs[r["row"]] / used[r["row"]]} for r in records()] for costs in (used, again)]
    recipes = [[max(r["cost"] for r in of if r["row"] == row) for row in ("Recipe", "Recipe, hybrid")] for of in both]
    assert "the recipes cost {:.0f} and {:.0f} in place of 90.".format(*recipes[1]) in plan
    assert {round(cost) for cost in recipes[0]} == {90}
    six = {"precision": "lower", "frechet": "higher"}
    metrics = six | {"recall": "lower", "coverage": "lower", "smallest_share": "lower"}
    rows = (
        ("DCGAN, weights_init", "MLP, weights_init", False, metrics),
        ("DCGAN, plain", "MLP, rate 1e-3", True, metrics),
    )
    for a, b, averaged, claimed in (*rows, ("DCGAN's G, MLP's D", "MLP, weights_init", False, six)):
        for metric, sense in claimed.items():
            of = ([r for r in each if r["averaged"] == averaged and r["row"] in (a, b)] for each in both)
            one, other = (compare("", each, a, metric, sense, b, "equal cost") for each in of)
            assert one.verdict == other.verdict


def test_what_05_and_08_say_beside_their_tables_is_what_the_records_say():
    """Numbers in their text that no cell prints."""
    text = {name: " ".join(prose(name).split()) for name in ("05_training", "08_recipe")}
    every = with_all_seeds(records())

    def at(row, epoch, averaged=False):
        found = [r for r in every if (r["row"], r["epoch"], r["averaged"]) == (row, epoch, averaged)]
        return sorted(r["frechet"] for r in found if not is_dead(r))

    def span(numbers):
        return f"{min(numbers):.0f} to {max(numbers):.0f}"

    fisher = [rank_test([1] * living, [1, 1, 1, 0, 0]) for living in (10, 6)]  # of ones and zeros it is Fisher's
    assert f"$p = {fisher[0]:.3f}$".replace("0.", ".") in text["05_training"]
    assert f"six of six against three of five, exact $p = {fisher[1]:.2f}$".replace("0.", ".") in text["08_recipe"]
    r1, plain = at("MLP, R1", 15), at("MLP, plain", 15)
    assert f"nine of nine pairs ({span(r1)} against {span(plain)}), at equal cost in seven" in text["08_recipe"]
    assert sum(a < b for a in r1 for b in plain) == len(r1) * len(plain) == 9
    assert sum(a < b for a in r1 for b in at("MLP, plain", 20)) == 7
    six, eight, end = (span(at("Recipe", epoch)) for epoch in (6, 8, 32))
    said = f"Without it the recipe has {six} at epoch 6, {eight} at epoch 8"
    assert said in text["08_recipe"]
    assert f"{end} at its end" in text["08_recipe"]
    assert said in SAID
    with_r1, without = at("Recipe", 8, averaged=True), at("Recipe without R1", 8, averaged=True)
    assert sum(a < b for a in with_r1 for b in without) == 15
    means = [statistics.fmean(numbers) for numbers in (at("Recipe", 6, averaged=True), without)]
    assert "at a cost of 17 the two cannot be told apart, {:.0f} and {:.0f}".format(*means) in text["08_recipe"]
    trials = json.loads((SHIPPED / "trials.json").read_text("utf8"))
    trials = {t["trial"]: f"{t['frechet']:.0f}" for t in trials if t["averaged"]}
    pairs = [(a, b) for a in trials.values() for b in trials.values()]
    told = re.findall(r"\((\d+)(?: against|,) (\d+)\)", text["08_recipe"].partition("R3GAN, Huang")[2][:300])
    assert told == [("139", "122"), ("193", "216"), ("306", "351")]
    assert set(told) <= set(pairs)
    sizes = [f"{count_parameters(build(model)[0]) / 1e6:.2f}"[1:] for model in ("hybrid", "dcgan")]
    assert "more parameters ({} against {} million)".format(*sizes) in text["08_recipe"]
    for remedy, epoch in (("R1", 3), ("WGAN-GP", 3), ("spectral norm", 5)):
        averages = [r for r in every if r["averaged"]]
        assert max(paired(averages, f"DCGAN, {remedy}", "DCGAN, D without batch norm", "frechet", epoch)[0]) < 0


def test_readme_quotes_what_the_recipe_reached():
    quoted = re.findall(r"^> ((?:recipe|the original report's), .*)$", README, re.MULTILINE)
    assert len(quoted) == 3
    printed = [" ".join(text.split()) for text in texts("08_recipe")]
    assert [line for line in quoted if not any(line in text for text in printed)] == []


@each_notebook
def test_each_question_has_an_empty_cell_for_its_answer(name):
    cells = [cell for cell in NOTEBOOKS[name].cells if "question" in cell.metadata]
    numbers = [cell.metadata["question"] for cell in cells]
    assert numbers == [f"{int(name[:2])}.{i}" for i in range(1, len(cells) + 1)]
    assert set(re.findall(r"\*\*(?:Question )?(\d\.\d+)\.?\*\*", prose(name))) == set(numbers)
    assert {cell.source for cell in cells} <= {"", "<!-- your answer -->"}


@each_notebook
def test_it_links_to_the_one_before_and_the_one_after(name):
    places = ["../README.md", *(f"{each}.ipynb" for each in NOTEBOOKS), "../docs/report.md"]
    at = places.index(f"{name}.ipynb")
    line = re.search(r"^before: .*$", NOTEBOOKS[name].cells[0].source, re.MULTILINE).group()
    assert re.findall(r"\]\(([^)]+)\)", line) == [places[at - 1], places[at + 1]]


@each_notebook
def test_it_is_no_longer_than_a_student_bears(name):
    assert len(NOTEBOOKS[name].cells) <= 120
    assert len(prose(name).split()) <= 4_500
    assert [line for cell in code(name) for line in cell.source.splitlines() if len(line) > 100] == []


@each_notebook
def test_its_cells_are_short_and_told_in_prose(name):
    sizes = [len(lines(cell)) for cell in code(name)]
    long = [
        cell.source[:60]
        for cell in code(name)
        if len(lines(cell)) > (40 if re.search("^class ", cell.source, re.M) else 30)
    ]
    assert long == []
    assert statistics.median(sizes) <= 6
    assert len(prose(name).split()) >= 5 * sum(sizes)


@each_notebook
def test_some_of_its_outputs_are_compared(name):
    tagged = [cell for cell in code(name) if "nbval-check-output" in cell.metadata.get("tags", [])]
    assert tagged
    assert all(cell.outputs for cell in tagged)
    assert "NBVAL" not in "".join(cell.source for cell in NOTEBOOKS[name].cells), "a tag says it, which no student sees"


@each_notebook
def test_it_holds_nothing_of_one_machine_or_one_execution(name):
    notebook = NOTEBOOKS[name]
    assert notebook.metadata == {"kernelspec": KERNELSPEC, "language_info": {"name": "python"}}
    assert [cell.metadata for cell in notebook.cells if "execution" in cell.metadata] == []
    assert [out for cell in code(name) for out in cell.outputs if WIDGET in out.get("data", {})] == []
    machine = re.compile(
        r"(?<![\w.:/~])/(?:home|root|Users|tmp|work)/\w|\b[A-Z]:\\\\?\w|\bat 0x[0-9a-f]{6}|site-packages"
    )
    assert [match.group() for text in texts(name) if (match := machine.search(text))] == []


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_it_is_below_three_megabytes(path):
    assert path.stat().st_size < 3_000_000


@pytest.mark.parametrize("number", range(1, 8))
def test_the_figures_of_the_report_keep_their_numbers(number):
    assert [name for name in NOTEBOOKS if re.search(rf"^\*+Figure {number}\.", prose(name), re.M)]
