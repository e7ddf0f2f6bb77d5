"""Which of two rows of a study is better, and how sure that is: the rule of docs/plan.md, arithmetic on records."""

import math
from dataclasses import dataclass
from itertools import groupby

DEAD = 0.02  # coverage: where it lies between the living and the dead is said in docs/plan.md
ERROR, Z = 0.05, 1.959964  # intervals are of 95%
T = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)  # Student's Z with 1, 2, ... degrees of freedom
LOOKS = ("precision", "density", "confident", "dots", "roughness")  # asked of living runs: others show no digits
WORST = dict.fromkeys(("frechet", "kid", "kl"), math.inf)  # what counts for a dead run; of other numbers 0
SAME = ("epochs", "ema", "ema_warmup", "seed", "device", "threads")  # settings that change no step of a training
MOST, FEW = 200, 12  # seeds a row: nobody trains more to decide a claim; with so many the interval decides it
EVERY = 0.9  # a claim on every run is given up where it is true of fewer
PLACES = {"equal epochs": "epoch", "equal cost": "cost", "equal recall": None, "the end": None}  # by which number
CHANCE = "P as claimed (pairs for, equal, against)"
HEAD = ["claim", "at", "compared", "alive", CHANCE, "p; Holm's", "verdict", "before"]
WEAKEST = ("does not hold", "undecided", "holds")  # of the parts of a claim, joined by "and", the first of these


def is_dead(record: dict) -> bool:
    """Whether a score shows no digits, yet or any more: its coverage is below DEAD, or the run has diverged."""
    return bool(record.get("diverged")) or record.get("coverage", 1) < DEAD


def share(count: int, of: int) -> tuple[float, float]:
    """95% interval of a share of which `count` of `of` were seen (Clopper and Pearson 1934)."""

    def tail(p: float, ks: range) -> float:
        return sum(math.comb(of, k) * p**k * (1 - p) ** (of - k) for k in ks)

    low = _root(lambda p: tail(p, range(count, of + 1)) - ERROR / 2) if count else 0.0
    return low, _root(lambda p: ERROR / 2 - tail(p, range(count + 1))) if count < of else 1.0


def _root(grows, low: float = 0.0, high: float = 1.0) -> float:
    """Where a function comes from below 0 to above it."""
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if grows(middle) < 0 else (low, middle)
    return (low + high) / 2


def probability(below: float, m: int, n: int) -> tuple[float, float, float]:
    """P(a < b) and its 95% interval: a < b in `below` of m * n pairs, ties as halves (Newcombe 2006, method 5)."""
    if not m * n:
        return 0.5, 0.0, 1.0

    def low(p: float) -> float:
        def spread(a: float) -> float:
            more = ((m + n) / 2 - 1) * ((1 - a) / (2 - a) + a / (1 + a))
            return math.sqrt(a * (1 - a) * (1 + more) / (m * n))

        return _root(lambda a: Z * spread(a) - (p - a), 0.0, p)

    p = below / (m * n)
    return p, low(p), 1 - low(1 - p)


def rank_test(a: list[float], b: list[float]) -> float:
    """Two-sided exact p of the rank sum (Wilcoxon 1945): equal numbers share ranks, every split is counted."""
    every = sorted([*a, *b])
    ranks = {x: 2 * every.index(x) + every.count(x) + 1 for x in every}  # twice the mean rank: whole numbers
    splits = {(0, 0): 1}  # (how many are of a, their sum) -> in how many ways
    for x in every:
        for (k, total), ways in list(splits.items()):
            key = k + 1, total + ranks[x]
            splits[key] = splits.get(key, 0) + ways
    middle, seen = len(a) * (len(every) + 1), sum(ranks[x] for x in a)
    far = sum(w for (k, total), w in splits.items() if k == len(a) and abs(total - middle) >= abs(seen - middle))
    return far / math.comb(len(every), len(a))


def holm(ps: list[float]) -> list[float]:
    """The p of each of several comparisons when no one of them may err by chance (Holm 1979)."""
    adjusted, least = {}, 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        adjusted[i] = least = max(least, min(1.0, (len(ps) - rank) * ps[i]))
    return [adjusted[i] for i in range(len(ps))]


@dataclass(frozen=True)
class Comparison:
    """Numbers of two rows, one a seed, beside a claim which of them are lower; and what follows from them."""

    claim: str
    at: str  # "equal epochs", "equal cost", "equal recall", "the end"
    what: str  # the number, and at which epoch, cost or recall
    sense: str  # the claim: those of the first row are "lower" or "higher"
    rows: tuple[str, str]
    values: tuple[tuple[float, ...], tuple[float, ...]]
    alive: tuple[tuple[int, int], ...]  # of each row, how many live and of how many

    @property
    def pairs(self) -> tuple[int, int, int]:
        """In how many pairs of seeds it is as claimed, equal, the other way round."""
        a, b = self.values if self.sense == "lower" else reversed(self.values)
        signs = [(x > y) - (x < y) for x in a for y in b]
        return signs.count(-1), signs.count(0), signs.count(1)

    @property
    def p(self) -> tuple[float, float, float]:
        """How probable it is with a seed of each row taken at random, and the 95% interval of that."""
        return probability(self.pairs[0] + self.pairs[1] / 2, *map(len, self.values))

    @property
    def exact(self) -> float:
        """p of the exact rank test."""
        return rank_test(*map(list, self.values))

    @property
    def verdict(self) -> str:
        """ "holds" or "does not hold" if the interval says so, and the test as well; else "undecided"."""
        _, low, high = self.p
        sure = self.exact <= ERROR
        return "holds" if sure and low > 0.5 else "does not hold" if sure and high < 0.5 else "undecided"

    @property
    def told(self) -> str:
        """What was compared, with the least and the largest number of each row."""
        spans = [f"{row}: {_span(of)}" for row, of in zip(self.rows, self.values, strict=True)]
        return f"{self.what}. {'; '.join(spans)}"

    @property
    def before(self) -> str:
        """The verdict by the rule before this one: all pairs alike, three seeds of each row at least."""
        agree, equal, against = self.pairs
        if equal or (agree and against) or min(map(len, self.values)) < 3:
            return "undecided"
        return "holds" if agree else "does not hold"

    @property
    def needed(self) -> int | None:
        """With how many seeds of each row it would be decided if P stays what it is; None if MOST are too few."""
        for k in range(4, MOST + 1) if all(self.values) else ():
            below = self.p[0] * k * k
            _, low, high = probability(below, k, k)
            share_of_each = [round(below * (j + 1) / k) - round(below * j / k) - 0.5 + j / MOST / 2 for j in range(k)]
            if (low > 0.5 or high < 0.5) and (k > FEW or rank_test(list(range(k)), share_of_each) <= ERROR):
                return k
        return None


@dataclass(frozen=True)
class Statement:
    """A claim that compares no two rows, its verdict by a rule of its own, and that by the rule before."""

    claim: str
    at: str
    told: str
    verdict: str
    before: str


def vote(claim: str, at: str, what: str, answers: list[bool]) -> Statement:
    """A claim on every run, answered by each: given up if the interval of their share is below EVERY, held if above."""
    yes, of = sum(answers), len(answers)
    low, high = share(yes, of)
    verdict = "holds" if low > EVERY else "does not hold" if high < EVERY else "undecided"
    before = "undecided" if of < 3 or 0 < yes < of else "holds" if yes else "does not hold"
    return Statement(claim, at, f"{what}: yes in {yes} of {of} ({low:.0%} to {high:.0%})", verdict, before)


def report(judged: list[Comparison | Statement]) -> str:
    """All that was judged as a Markdown table; Holm's p is over all comparisons in it."""
    adjusted = iter(holm([c.exact for c in judged if isinstance(c, Comparison) and all(c.values)]))
    rows = [HEAD, ["---"] * len(HEAD)]
    for c in judged:
        alive = chance = test = more = ""
        if isinstance(c, Comparison):
            alive = "; ".join(f"{k} of {n}" for k, n in c.alive)
        if isinstance(c, Comparison) and all(c.values):
            chance = "{:.2f} ({:.2f} to {:.2f}): ".format(*c.p) + ", ".join(map(str, c.pairs))
            test = f"{c.exact:.2g}; {next(adjusted):.2g}"
            more = f" ({c.needed or f'over {MOST}'} seeds)" * (c.verdict == "undecided")
        rows.append([c.claim, c.at, c.told, alive, chance, test, f"**{c.verdict}**{more}", c.before])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def verdicts(judged: list[Comparison | Statement]) -> dict[str, str]:
    """{claim: its verdicts in words, one for each `at`}; the parts of a claim are joined by "and"."""
    found = {}
    for c in judged:
        parts = found.setdefault(c.claim, {})
        parts[c.at] = min(parts.get(c.at, "holds"), c.verdict, key=WEAKEST.index)
    return {claim: "; ".join(f"{at}: {verdict}" for at, verdict in of.items()) for claim, of in found.items()}


def _span(numbers: tuple[float, ...]) -> str:
    ends = ["dead" if x == math.inf else f"{x:.3g}" for x in (min(numbers), max(numbers))] if numbers else []
    return " to ".join(dict.fromkeys(ends)) or "none lives"


def runs_of(records: list[dict], *rows: str) -> list[list[list[dict]]]:
    """Of each row its runs, lists of scores in order; of the averages if all these rows have any: like with like."""
    averaged = all(any(r["averaged"] for r in records if r["row"] == row) for row in rows)
    found = sorted((r for r in records if r["averaged"] == averaged), key=lambda r: (r["seed"], r["epoch"]))
    by_row = [[r for r in found if r["row"] == row] for row in rows]
    return [[list(run) for _, run in groupby(members, key=lambda r: r["seed"])] for members in by_row]


def common(records: list[dict], *rows: str) -> dict[str, float]:
    """Up to which "epoch" and "cost" rows can be compared: the last epoch of all runs, the least cost of a run."""
    runs = [run for row in runs_of(records, *rows) for run in row]
    epochs = set.intersection(*({r["epoch"] for r in run} for run in runs)) if runs else {}
    return {"epoch": max(epochs, default=0), "cost": min((run[-1].get("cost", 0) for run in runs), default=0)}


def compare(
    claim: str,
    records: list[dict],
    first: str,
    metric: str,
    sense: str,
    second: str,
    at: str,
    limit: float | None = None,
) -> Comparison:
    """Judge the claim that row `first` is `sense`, "lower" or "higher", in `metric` than row `second`.

    `at`: "equal epochs", the last epoch that all runs have, or "equal cost", each run's last score within the least
    cost of a run, or within `limit`; "the end" of each; or "equal recall": for each living run the number where its
    recall first passes the least of the highest recalls of these runs, on the line between the scores before and after.
    """
    if at not in PLACES:
        raise ValueError(f"at is {at!r}; expected one of {', '.join(PLACES)}.")
    key = PLACES[at]
    if key and (without := {r["row"] for r in records if r["row"] in (first, second) and key not in r}):
        raise ValueError(f"The records of {min(without)!r} have no cost: measure it by benchmarks/costs.py.")
    limit = limit or (common(records, first, second)[key] if key else math.inf)
    until = [[[r for r in run if not key or r[key] <= limit] for run in row] for row in runs_of(records, first, second)]
    runs = [[run for run in row if run] for row in until]
    alive = tuple((sum(not is_dead(run[-1]) for run in row), len(row)) for row in runs)
    if at != "equal recall":
        numbers = [[value(run[-1], metric) for run in row] for row in runs]
        what = f"{metric}, {key} {limit:.3g}" if key else metric
    else:
        living = [[run for run in row if not is_dead(run[-1])] for row in runs]
        recall = min((max(r["recall"] for r in run) for row in living for run in row), default=0)
        numbers = [[_at_recall(run, recall, metric) for run in row] for row in living]
        what = f"{metric}, recall {recall:.2f}"
    a, b = (tuple(x for x in row if x is not None) for row in numbers)
    return Comparison(claim, at, what, sense, (first, second), (a, b), alive)


def value(record: dict, metric: str) -> float | None:
    """A number of a score as it is compared: a dead run has the worst there is, or none where the look is compared."""
    if is_dead(record):
        return None if metric in LOOKS else WORST.get(metric, 0.0)
    return record.get(metric)


def _at_recall(run: list[dict], recall: float, metric: str) -> float:
    i = next(i for i, r in enumerate(run) if r["recall"] >= recall)
    before, after = run[max(0, i - 1)], run[i]
    rise = after["recall"] - before["recall"]
    part = (recall - before["recall"]) / rise if rise > 0 else 1.0
    return before[metric] + part * (after[metric] - before[metric])


def budgets(records: list[dict], first: str, metric: str, sense: str, second: str) -> list[tuple[float, float, str]]:
    """(from, to, verdict) of a claim at equal cost, for all budgets for which both rows have been scored."""
    runs = [run for row in runs_of(records, first, second) for run in row]
    begin, end = max((run[0]["cost"] for run in runs), default=0), common(records, first, second)["cost"]
    steps = sorted({begin, *(r["cost"] for run in runs for r in run if begin <= r["cost"] < end), end})
    found = []
    for low, high in zip(steps, [*steps[1:], end], strict=True):
        verdict = compare("", records, first, metric, sense, second, "equal cost", low).verdict
        low = found.pop()[0] if found and found[-1][2] == verdict else low
        found.append((low, high, verdict))
    return found


def paired(records: list[dict], first: str, second: str, metric: str, epoch: int) -> tuple[list[float], float, float]:
    """Differences first - second, seed by seed, where both live at an epoch; and the 95% interval of their mean."""
    at = [
        {r["seed"]: r[metric] for run in row for r in run if r["epoch"] == epoch and not is_dead(r)}
        for row in runs_of(records, first, second)
    ]
    found = [at[0][seed] - at[1][seed] for seed in sorted(at[0].keys() & at[1].keys())]
    return found, *of_mean(found)


def of_mean(found: list[float]) -> tuple[float, float]:
    """Student's 95% interval of a mean."""
    if (n := len(found)) < 2:
        return -math.inf, math.inf
    mean = sum(found) / n
    half = (T[n - 2] if n - 2 < len(T) else T[-1]) * math.sqrt(sum((x - mean) ** 2 for x in found) / (n - 1) / n)
    return mean - half, mean + half


def same_runs(records: list[dict]) -> dict[str, str]:
    """{row: a row of more seeds whose runs it repeats}: their settings train alike, and all common scores are equal."""
    configs, scores = {}, {}
    for r in records:
        configs[r["row"]] = {key: x for key, x in r["config"].items() if key not in SAME}
        if not r["averaged"]:
            scores.setdefault(r["row"], {})[r["seed"], r["epoch"]] = r.get("frechet")
    seeds = {row: len({seed for seed, _ in of}) for row, of in scores.items()}
    found = {}
    for row, of in scores.items():
        for other, more in scores.items():
            both = of.keys() & more.keys()
            if seeds[other] > seeds[row] and configs[other] == configs[row] and both:
                found |= {row: other} if all(of[key] == more[key] for key in both) else {}
    return found


def with_all_seeds(records: list[dict]) -> list[dict]:
    """Records in which a row that repeats another's runs says so, in "run_of", and has the other seeds of it as well.

    Of those it takes the scores up to its own last epoch and a tenth more; they have no averages.
    """
    found, same = [], same_runs(records)
    for row, members in groupby(records, key=lambda r: r["row"]):
        members = list(members)
        if other := same.get(row):
            most, own = 1.1 * max(r["epoch"] for r in members), {r["seed"] for r in members}
            more = [r for r in records if r["row"] == other and r["seed"] not in own and r["epoch"] <= most]
            members = [r | {"row": row, "group": members[0]["group"], "run_of": other} for r in members + more]
        found += members
    return found
