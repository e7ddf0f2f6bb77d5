"""The rule of a verdict: its numbers against others' formulas and tables, and on runs made to tell right from wrong."""

import json
import math
import random
from itertools import combinations
from pathlib import Path

import pytest

from labutils.study import SHIPPED, comparisons, load_study, records
from labutils.study.comparisons import Comparison, compare, holm, is_dead, paired, probability, rank_test, share


def record(row, seed, epoch=1, averaged=False, coverage=0.5, **more) -> dict:
    same = {"row": row, "group": "g", "seed": seed, "epoch": epoch, "averaged": averaged, "diverged": False}
    return same | {"coverage": coverage, "cost": float(epoch), "config": {"lr": 1, "epochs": 9, "seed": seed}} | more


def comparison(a, b, sense="lower") -> Comparison:
    return Comparison("claim", "the end", "number", sense, ("A", "B"), (tuple(a), tuple(b)), ((len(a),) * 2,) * 2)


@pytest.mark.parametrize(  # of the tables of Clopper and Pearson's interval
    ("count", "of", "low", "high"),
    [(0, 5, 0, 0.5218), (5, 5, 0.4782, 1), (3, 5, 0.1466, 0.9473), (1, 5, 0.0051, 0.7164), (10, 10, 0.6915, 1)],
)
def test_the_interval_of_a_share(count, of, low, high):
    assert share(count, of) == pytest.approx((low, high), abs=1e-4)


def test_the_rank_test_counts_every_split():
    assert rank_test([1, 2, 3], [4, 5, 6]) == 2 / 20
    assert rank_test([6, 7, 8, 9, 10], [1, 2, 3, 4, 5]) == 2 / 252
    assert rank_test([1, 4], [2, 3]) == 1
    a, b = [3, 1, 4, 1, 5], [9, 2, 6, 5, 3, 5]
    every, at = sorted(a + b), {}
    for x in every:
        at[x] = [i + 1 for i, y in enumerate(every) if x == y]
    rank = {x: sum(places) / len(places) for x, places in at.items()}
    sums = [sum(rank[every[i]] for i in split) for split in combinations(range(11), 5)]
    far = abs(sum(rank[x] for x in a) - 30)
    assert rank_test(a, b) == pytest.approx(sum(abs(s - 30) >= far - 1e-9 for s in sums) / len(sums))


def test_the_rank_test_ranks_the_dead_equally():
    assert rank_test([1, 2, math.inf, math.inf], [3, math.inf, math.inf, math.inf]) == pytest.approx(30 / 70)


def test_the_interval_of_a_probability_holds_its_edges():
    p, low, high = probability(25, 5, 5)
    assert (p, high) == (1, 1)
    more = 4 * ((1 - low) / (2 - low) + low / (1 + low))  # Newcombe's equation, method 5
    assert 1 - low == pytest.approx(1.959964 * math.sqrt(low * (1 - low) * (1 + more) / 25))
    assert probability(0, 5, 5) == pytest.approx((0, 0, 1 - low))
    assert probability(8, 4, 4) == pytest.approx((0.5, *(0.5 + d for d in (-0.3, 0.3))), abs=0.02)
    assert probability(0, 0, 5) == (0.5, 0, 1)
    assert probability(90, 10, 10)[1] > probability(22.5, 5, 5)[1]  # more seeds, less doubt


def test_the_interval_covers_what_it_should():
    draw, missed = random.Random(0), 0
    for _ in range(400):  # two normals one standard deviation apart: P = .76
        a, b = ([draw.gauss(shift, 1) for _ in range(6)] for shift in (0, 1))
        _, low, high = comparison(a, b).p
        missed += not low <= 0.7602 <= high
    assert missed / 400 < 0.06


def test_holm_holds_the_family():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1, 1]
    assert holm([]) == []


def test_a_verdict_needs_the_interval_and_the_test():
    assert comparison([1, 2, 3], [4, 5, 6]).verdict == "undecided"  # p = .1
    assert comparison([1, 2, 3, 4], [5, 6, 7, 8]).verdict == "holds"
    assert comparison([1, 2, 3, 4], [5, 6, 7, 8], "higher").verdict == "does not hold"
    one_off = comparison([1, 2, 3, 4, 6], [5, 7, 8, 9, 10])
    assert (one_off.verdict, one_off.before, one_off.pairs) == ("holds", "undecided", (24, 0, 1))
    assert comparison([1, 2], [3, 4, 5]).before == "undecided"
    assert comparison([1, 2, 3], [4, 5, 6]).before == "holds"
    assert comparison([], [1, 2, 3, 4, 5]).verdict == "undecided"


def test_undecided_says_how_many_seeds_would_decide():
    few = comparison([1, 2, 3], [4, 5, 6])
    assert (few.verdict, few.needed) == ("undecided", 4)
    one_off = comparison([1, 2, 3, 4, 6], [5, 8, 9])  # 14 of 15
    assert (one_off.verdict, one_off.needed) == ("undecided", 5)  # 4 against 4 with 15 of 16 has p = .057
    assert comparison([], [1, 2, 3]).needed is None
    weak = comparison([1, 2, 5, 6], [3, 4, 7, 8])  # 12 of 16
    _, low, _ = probability(weak.p[0] * weak.needed**2, weak.needed, weak.needed)
    _, less, _ = probability(weak.p[0] * (weak.needed - 1) ** 2, weak.needed - 1, weak.needed - 1)
    assert low > 0.5 >= less
    assert comparison([1, 4], [2, 3]).needed is None


def test_ties_count_as_halves_and_are_shown():
    tied = comparison([1, math.inf, math.inf], [2, math.inf, math.inf])
    assert tied.pairs == (3, 4, 2)
    assert tied.p[0] == pytest.approx(5 / 9)


def test_dead_is_below_two_per_cent_of_coverage_or_diverged():
    assert [is_dead(record("A", 0, coverage=c)) for c in (0.0, 0.0199, 0.02)] == [True, True, False]
    assert is_dead(record("A", 0, diverged=True))
    assert not is_dead({"diverged": False, "fd": 3})  # other scores have no coverage


def test_at_their_ends_the_judged_runs_are_far_from_the_limit():
    ends = {
        (r["row"], r["seed"]): r["coverage"] for r in records(SHIPPED) if r["group"] in ("mlp", "dcgan", "precision")
    }
    dead, living = ([c for c in ends.values() if (c < comparisons.DEAD) == yes] for yes in (True, False))
    assert len(dead) == 13
    assert max(dead) < 0.002
    assert min(living) > 0.1


def rows(numbers: dict[str, list], **more) -> list[dict]:
    return [record(row, seed, **more | {"frechet": x}) for row, xs in numbers.items() for seed, x in enumerate(xs)]


def test_comparisons_treat_the_dead_as_said():
    found = rows({"A": [1, 2, 3, 4], "B": [5, 6, 7]}, precision=0.9, recall=0.5)
    found += [record("B", 3, coverage=0.001, frechet=900, precision=1.0, recall=0.0)]
    by_distance = compare("c", found, "A", "frechet", "lower", "B", "equal epochs")
    assert by_distance.values == ((1, 2, 3, 4), (5, 6, 7, math.inf))
    assert by_distance.alive == ((4, 4), (3, 4))
    assert compare("c", found, "A", "precision", "lower", "B", "equal epochs").values[1] == (0.9, 0.9, 0.9)
    assert compare("c", found, "A", "recall", "lower", "B", "equal epochs").values[1] == (0.5, 0.5, 0.5, 0.0)


def test_equal_epochs_and_equal_cost():
    found = [record("A", s, e, frechet=10 * s + e, cost=1.0 * e) for s in (0, 1) for e in (1, 2, 4, 8)]
    found += [record("B", s, e, frechet=100 + e, cost=3.0 * e) for s in (0, 1) for e in (1, 2, 4)]
    assert compare("c", found, "A", "frechet", "lower", "B", "equal epochs").values == ((4, 14), (104, 104))
    at_cost = compare("c", found, "A", "frechet", "lower", "B", "equal cost")
    assert (at_cost.what, at_cost.values) == ("frechet, cost 8", ((8, 18), (102, 102)))
    assert compare("c", found, "A", "frechet", "lower", "B", "equal cost", 4).values == ((4, 14), (101, 101))


def test_averages_are_compared_with_averages():
    found = rows({"A": [1, 2], "B": [3, 4]}) + rows({"A": [0.1, 0.2]}, averaged=True)
    assert compare("c", found, "A", "frechet", "lower", "B", "equal epochs").values == ((1, 2), (3, 4))
    found += rows({"B": [0.3, 0.4]}, averaged=True)
    assert compare("c", found, "A", "frechet", "lower", "B", "equal epochs").values == ((0.1, 0.2), (0.3, 0.4))


def test_precision_at_equal_recall_is_read_along_the_training():
    along = {"A": [(0.2, 0.7), (0.6, 0.6), (0.9, 0.5)], "B": [(0.1, 0.9), (0.4, 0.95)]}
    found = [
        record(row, seed, epoch, recall=recall, precision=precision)
        for row, points in along.items()
        for seed in (0, 1)
        for epoch, (recall, precision) in enumerate(points, 1)
    ]
    found.append(record("B", 2, coverage=0, recall=0.99, precision=1))  # dead: asked for nothing
    at_recall = compare("c", found, "A", "precision", "lower", "B", "equal recall")
    assert at_recall.what == "precision, recall 0.40"
    assert at_recall.values == (pytest.approx((0.65, 0.65)), (0.95, 0.95))
    assert at_recall.alive == ((2, 2), (2, 3))


def test_a_verdict_is_a_range_of_budgets():
    found = [record("A", s, e, frechet=50 + s, cost=2.0 * e) for s in range(4) for e in (1, 2, 4)]
    found += [record("B", s, e, frechet=100 * (5 - e) + s, cost=1.0 * e) for s in range(4) for e in (1, 2, 3, 5, 8)]
    ranges = comparisons.budgets(found, "A", "frechet", "lower", "B")
    assert ranges == [(2, 5, "holds"), (5, 8, "does not hold")]


def test_differences_seed_by_seed():
    found = rows({"A": [11, 12, 16], "B": [10, 10, 13, 9]})
    found.append(record("A", 3, coverage=0.0, frechet=1000))  # no pair: dead
    differences, low, high = paired(found, "A", "B", "frechet", 1)
    assert differences == [1, 2, 3]
    assert (low, high) == pytest.approx((2 - 4.303 / math.sqrt(3), 2 + 4.303 / math.sqrt(3)), abs=1e-3)
    assert paired(found[:1], "A", "B", "frechet", 1) == ([], -math.inf, math.inf)


def test_a_row_that_repeats_anothers_runs_gets_its_other_seeds():
    found = [record("long", s, e, frechet=10 * s + e) for s in range(5) for e in (1, 2, 5, 9)]
    found += [record("short", s, e, frechet=10 * s + e, config={"lr": 1, "epochs": 5}) for s in (0, 1) for e in (2, 5)]
    found += [record("other", s, e, frechet=10 * s + e + 1) for s in (0, 1) for e in (2, 5)]
    assert comparisons.same_runs(found) == {"short": "long"}
    every = [r for r in comparisons.with_all_seeds(found) if r["row"] == "short"]
    assert {r["run_of"] for r in every} == {"long"}
    assert [(r["seed"], r["epoch"]) for r in every if r["seed"] > 1] == [(s, e) for s in (2, 3, 4) for e in (1, 2, 5)]
    rest = [r for r in comparisons.with_all_seeds(found) if r["row"] != "short"]
    assert rest == [r for r in found if r["row"] != "short"]


def test_the_shipped_rows_that_repeat_others_are_found():
    expected = {"MLP, plain": "MLP, weights_init", "DCGAN, plain": "DCGAN, weights_init"}
    assert comparisons.same_runs(records(SHIPPED)) == expected


def test_a_claim_on_every_run_is_given_up_where_it_is_surely_rare():
    none, some, few = (comparisons.vote("c", "the end", "at rest", [True] * k + [False] * (5 - k)) for k in (0, 3, 1))
    assert (none.verdict, none.before) == ("does not hold", "does not hold")
    assert none.told == "at rest: yes in 0 of 5 (0% to 52%)"
    assert (some.verdict, some.before) == ("undecided", "undecided")
    assert few.verdict == "does not hold"
    assert comparisons.vote("c", "the end", "at rest", [True] * 5).verdict == "undecided"  # five say little of all
    assert comparisons.vote("c", "the end", "at rest", [True] * 40).verdict == "holds"
    assert comparisons.vote("c", "the end", "at rest", []).verdict == "undecided"


def test_the_parts_of_a_claim_are_joined_by_and_for_each_clock():
    yes, no, open_ = (
        comparison([1, 2, 3, 4], [5, 6, 7, 8]),
        comparison([5, 6, 7, 8], [1, 2, 3, 4]),
        comparison([1], [2]),
    )
    clock = Comparison("claim", "equal cost", "x", "lower", ("A", "B"), yes.values, ())
    assert comparisons.verdicts([yes, open_, clock]) == {"claim": "the end: undecided; equal cost: holds"}
    assert comparisons.verdicts([yes, open_, no]) == {"claim": "the end: does not hold"}


def test_a_report_shows_ties_the_dead_and_how_many_seeds_would_decide():
    judged = [comparison([1, 2, math.inf, math.inf], [3, 4, 5, math.inf]), comparison([1, 2, 3, 4], [5, 6, 7, 8])]
    judged.append(comparisons.Statement("other", "the end", "told", "undecided", "holds"))
    first, second, third = [line.split(" | ") for line in comparisons.report(judged).splitlines()[2:]]
    assert first[2] == "number. A: 1 to dead; B: 3 to dead"
    assert first[3:5] == ["4 of 4; 4 of 4", "0.56 (0.22 to 0.85): 8, 2, 6"]
    assert first[6] == f"**undecided** ({judged[0].needed} seeds)"
    assert second[5:7] == ["0.029; 0.057", "**holds**"]
    empty = comparisons.report([comparison([], [1, 2]), comparison([1, 2, 3, 4], [5, 6, 7, 8])]).splitlines()
    assert "number. A: none lives; B: 1 to 2 | 0 of 0; 0 of 0 |  |  | **undecided** | undecided |" in empty[2]
    assert "0.029; 0.029" in empty[3]  # nothing was compared in the other
    assert third[2:7] == ["told", "", "", "", "**undecided**"]


def test_at_the_end_the_look_of_the_living_is_compared():
    found = [record("A", s, 5, dots=s) for s in range(3)] + [record("B", s, 9, dots=9, coverage=0.0) for s in range(3)]
    assert compare("c", found, "A", "dots", "lower", "B", "the end").values == ((0, 1, 2), ())


def test_the_shipped_costs_are_of_every_row_and_reach_the_records():
    costs = json.loads((SHIPPED / "costs.json").read_text("utf8"))
    names = [row.name for row in load_study().rows]
    assert list(costs["step"]) == list(costs["range"]) == names
    assert costs["step"]["MLP, weights_init"] == 1
    assert 3 < costs["step"]["DCGAN, weights_init"] < 6
    assert all(low <= costs["step"][name] <= high for name, (low, high) in costs["range"].items())
    found = {(r["row"], r["epoch"]): r["cost"] for r in records(SHIPPED)}
    assert found["MLP, weights_init", 100] == 100
    assert found["Recipe, batch of 512", 8] == pytest.approx(2 * costs["step"]["Recipe, batch of 512"])


def test_the_plan_says_the_numbers_that_the_rule_has():
    said = " ".join((Path(__file__).parents[2] / "docs" / "plan.md").read_text("utf8").split())
    assert f"its coverage is below {comparisons.DEAD:.0%}" in said
    assert f"below {10 * comparisons.EVERY:.0f} in 10" in said
    assert f"(at most {comparisons.MOST} are tried)" in said
    least = rank_test(range(5), range(5, 10))
    assert f"With five seeds against five p is {least:.4f} at the least".replace(" 0.", " .") in said
    assert min(holm([least] * 24)) > 0.05 > min(holm([rank_test(range(7), range(7, 14))] * 24))
    assert min(holm([rank_test(range(6), range(6, 12))] * 24)) > 0.05
    ends = {(r["row"], r["averaged"], r["seed"]): r["coverage"] for r in records(SHIPPED) if "remedies" in r["group"]}
    between = {row: [] for row, _, _ in ends}
    for (row, _, _), coverage in ends.items():
        between[row].append(0.003 <= coverage <= 0.05)
    slow = ["MLP, WGAN with clipping", "MLP, spectral norm", "DCGAN, WGAN with clipping"]
    assert [row for row, of in between.items() if all(of)] == [row for row, of in between.items() if any(of)] == slow


def test_where_rows_cannot_be_compared_a_sentence_says_why():
    found = [{key: value for key, value in record("A", 0).items() if key != "cost"}, record("B", 0)]
    with pytest.raises(ValueError, match=r"The records of 'A' have no cost: measure it by benchmarks/costs\.py\."):
        compare("c", found, "A", "frechet", "lower", "B", "equal cost")
    with pytest.raises(ValueError, match=r"at is 'equal time'; expected one of equal epochs, equal cost, "):
        compare("c", found, "A", "frechet", "lower", "B", "equal time")
