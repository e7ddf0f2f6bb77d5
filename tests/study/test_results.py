"""Records and tables say what came of the runs, and the shipped copy says the same."""

import math
import shutil
from pathlib import Path

import pytest
from small_study import ROWS, cheap, here, timeless

from labutils import runs
from labutils.runs import RunError
from labutils.study import Study, machines, markdown, records, run_one, run_study, ship, table, workers
from labutils.study.one_run import finished


def record(row="A", seed=0, epoch=1, cpu=1.0, averaged=False, **more) -> dict:
    same = {"row": row, "group": "", "seed": seed, "epoch": epoch, "averaged": averaged, "diverged": False}
    return same | {"cpu_seconds": cpu, "generator_parameters": 2, "discriminator_parameters": 3, "config": {}} | more


def test_a_table_takes_mean_and_spread_over_seeds():
    found = [record(seed=seed, epoch=epoch, fd=10.0 * seed + epoch) for seed in (0, 1, 2) for epoch in (1, 2)]
    found.append(record(row="B", fd=4.0, sure=True))
    first, second, other = table(found)
    assert (first["row"], first["epoch"], first["seeds"], first["generator_parameters"]) == ("A", 1, 3, 2)
    assert first["fd"] == {"mean": 11.0, "sd": 10.0, "median": 11.0, "min": 1.0, "max": 21.0}
    assert second["fd"]["mean"] == 12.0
    assert other["fd"] == {"mean": 4.0, "sd": None, "median": 4.0, "min": 4.0, "max": 4.0}
    assert "sure" not in other


def test_a_table_counts_what_diverged():
    gone_wrong = record(seed=1, epoch=2, cpu=1.5, diverged=True)
    first, second = table([record(fd=1.0), record(seed=1, fd=3.0), record(epoch=2, cpu=2.0, fd=0.5), gone_wrong])
    assert (first["seeds"], first["diverged"], first["fd"]["mean"]) == (2, 0, 2.0)
    assert (second["seeds"], second["diverged"], second["fd"]["mean"]) == (2, 1, 0.5)
    assert markdown([second], ("fd", "other")).splitlines() == [
        "| row | epoch | alive | CPU s | fd |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| A | 2 | 1 of 2, 1 diverged (1% to 99%) | 1.75 ± 0.35 | 0.500 |",
    ]


def test_a_table_takes_no_mean_over_the_dead_and_the_living():
    coverages, distances = (0.5, 0.001, 0.4, 0.0), (90.0, 1100.0, 110.0, 1200.0)
    found = [record(seed=i, coverage=c, fd=d) for i, (c, d) in enumerate(zip(coverages, distances, strict=True))]
    (line,) = table(found)
    assert (line["alive"], line["seeds"]) == (2, 4)
    assert (line["fd"]["mean"], line["fd"]["max"], line["fd"]["median"]) == (100, 110, 100)
    assert line["cpu_seconds"]["mean"] == 1  # what was spent is of all
    assert "| A | 1 | 2 of 4 (7% to 93%) |" in markdown([line], ("fd",))
    (none,) = table(found[1::2])
    assert (none["alive"], "fd" in none) == (0, False)
    assert "| A | 1 | 0 of 2 (0% to 84%) |" in markdown([none], ("fd",))


def test_a_table_at_equal_cost():
    found = [record(epoch=epoch, cost=2.0 * epoch, fd=epoch) for epoch in (1, 2, 3)]
    found += [record(seed=1, epoch=epoch, cost=3.0 * epoch, fd=epoch) for epoch in (1, 2, 3)]
    found += [record(row="B", epoch=epoch, cost=5.0 * epoch, fd=epoch) for epoch in (1, 2)]
    lines = table(found, at_cost=6)
    assert [(line["row"], line["epoch"], line["cost"]["mean"]) for line in lines] == [("A", 2.5, 6), ("B", 1, 5)]
    assert (lines[0]["seeds"], lines[0]["fd"]["mean"]) == (2, 2.5)
    assert "| row | epoch | alive | cost | fd |" in markdown(lines, ("fd",))
    assert [line["epoch"] for line in table(found, at_cost=math.inf)] == [3, 2]


def test_a_table_says_where_runs_come_from_and_whose_they_are():
    found = [record(seed=seed, machine="here", fd=1.0, run_of="B") for seed in range(5)]
    found += [record(seed=seed, machine="there", fd=1.0, run_of="B") for seed in range(5, 15)]
    (line,) = table(found)
    assert "| A (runs of B) | 1 | 15 of 5 + 10 (78% to 100%) |" in markdown([line], ("fd",))
    own = [{key: value for key, value in record.items() if key != "run_of"} for record in found]
    assert machines(own + own) == "Runs: 10 on there; 5 on here."
    assert machines(found + own[:1]) == "Runs: 1 on here."


@pytest.mark.parametrize(
    ("numbers", "shown"),
    [
        ((0.01234,), "0.012"),
        ((2.947e6,), "2947000"),
        ((0.0, 0.0), "0 ± 0"),
        ((65.04, 66.04, 67.04), "66.0 ± 1.0"),
        ((-0.5, -0.6), "-0.550 ± 0.071"),
        ((80.0, 1100.0, 1200.0), "80 to 1200"),
    ],
)
def test_a_table_shows_the_ends_where_a_deviation_says_little(numbers, shown):
    found = table([record(seed=seed, fd=number) for seed, number in enumerate(numbers)])
    assert f"| {shown} |" in markdown(found, ("fd",))


def test_records_of_something_else(tmp_path):
    with pytest.raises(RunError, match=r"is not a study: it has no study\.json"):
        records(tmp_path)


def test_shipped_records_say_the_same(whole, tmp_path):
    size = ship(whole, tmp_path / "shipped")
    kept = [path for path in (tmp_path / "shipped").rglob("*") if path.is_file()]
    assert size == sum(path.stat().st_size for path in kept)
    assert not [path.name for path in kept if path.name.startswith(("state", "discriminator", "."))]
    assert timeless(records(tmp_path / "shipped")) == timeless(records(whole))
    for averaged in (True, False):
        run, full = (runs.load_run(f / "plain-averaged" / "seed=0") for f in (tmp_path / "shipped", whole))
        little, big = (made.generator(averaged=averaged).state_dict() for made in (run, full))
        assert all((little[key] - big[key]).abs().max() < 1e-3 for key in big)
    assert run.grid(3).tobytes() == full.grid(3).tobytes()
    assert not list((tmp_path / "shipped").glob("*/seed=1/*.safetensors"))
    assert ship(whole, tmp_path / "shipped") == size


def test_an_unfinished_run_is_not_shipped(whole, tmp_path):
    part = shutil.copytree(whole, tmp_path / "part")
    ship(part, tmp_path / "shipped")
    name = "plain-averaged/seed=1"
    assert (tmp_path / "shipped" / name).is_dir()
    kept = runs.read_json(part / name / "quality.json")
    kept["scores"] = [point for point in kept["scores"] if point["epoch"] == 1]
    runs.write_json(part / name / "quality.json", kept)
    ship(part, tmp_path / "shipped")
    assert not (tmp_path / "shipped" / name).exists()
    assert (tmp_path / "shipped" / "plain-averaged" / "seed=0").is_dir()


def test_a_study_is_not_shipped_into_itself(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "study")
    with pytest.raises(ValueError, match="is the study itself: name another folder"):
        ship(folder, tmp_path / "elsewhere" / ".." / "study")
    assert records(folder) == records(whole)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["samples/epoch_0003.png", "history.csv", "generator.safetensors"])
def test_what_cannot_be_shipped_leaves_the_shipped_copy_as_it_was(name, whole, tmp_path, few, monkeypatch):
    part, shipped = shutil.copytree(whole, tmp_path / "part"), tmp_path / "shipped"
    ship(part, shipped)
    before = tree(shipped)
    (part / "plain-averaged" / "seed=0" / name).unlink()
    with pytest.raises(RunError, match=f"{Path(name).name} is missing"):
        ship(part, shipped)
    assert tree(shipped) == before
    assert not list(shipped.glob(".*"))
    monkeypatch.setattr(workers, "_in_processes", here)
    run_study(Study(ROWS, 64), part, score=cheap)  # as the sentence says; nothing is trained for it
    ship(part, shipped)
    assert tree(shipped).keys() == before.keys()
    assert timeless(records(part)) == timeless(records(whole))


ODD = {  # what stands in a quality.json, signed -> what is named
    "scores that are numbers": ({"scores": [1, 2]}, "scores"),
    "no scores": ({"scores": None}, "scores"),
    "a score without epoch": ({"scores": [{"averaged": False}]}, "epoch"),
    "an infinite score": ({"frechet": math.inf}, "frechet"),
    "a score that is none": ({"kid": math.nan}, "kid"),
    "a score in words": ({"frechet": "low"}, "frechet"),
    "a number without end": ({"frechet": 10**400}, "frechet"),
    "infinite seconds": ({"cpu_seconds": math.inf}, "cpu_seconds"),
    "seconds below zero": ({"score_seconds": -1}, "score_seconds"),
    "an epoch in words": ({"epoch": "3"}, "epoch"),
    "averaged or not": ({"averaged": 2}, "averaged"),
    "infinity in a list": ({"shares": [0.5, math.inf]}, "shares"),
    "no count of parameters": ({"generator_parameters": "many"}, "generator_parameters"),
    "diverged in numbers": ({"diverged": 3}, "diverged"),
}


@pytest.mark.parametrize("odd", ODD)
def test_odd_scores_are_named_whoever_signed_them(odd, whole, tmp_path):
    change, named = ODD[odd]
    folder = shutil.copytree(whole, tmp_path / "study")
    path = folder / "plain-averaged" / "seed=0" / "quality.json"
    kept = runs.read_json(path)
    if not change.keys() & {*kept}:
        change = {"scores": [kept["scores"][0] | change, *kept["scores"][1:]]}
    runs.write_json(path, kept | change)
    with pytest.raises(RunError, match=rf"quality.json holds no scores of a run \({named} is not what it should be\)"):
        records(folder)
    assert not finished(ROWS[0], 0, folder)


def test_a_score_that_is_no_number_is_left_out(whole, tmp_path, few):
    folder = shutil.copytree(whole, tmp_path / "study")
    (folder / "plain-averaged" / "seed=0" / "quality.json").unlink()
    run_one(ROWS[0], 0, folder, 64, lambda *_: {"frechet": math.inf, "kid": math.nan, "recall": 0.5})
    last = next(record for record in records(folder) if record["seed"] == 0)
    assert last["recall"] == 0.5
    assert not {"frechet", "kid"} & last.keys()


def test_a_history_without_seconds_is_named(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "study")
    path = folder / "breaks" / "seed=0" / "history.csv"
    rows = runs.load_run(path.parent).history or [{"epoch": 1}]
    runs.write_history(path, [{"epoch": row["epoch"]} for row in rows])
    with pytest.raises(RunError, match=r"history.csv has no column 'cpu_seconds'"):
        records(folder)
