"""Records and tables say what came of the runs, and the shipped copy says the same."""

import math
import shutil

import pytest
from small_study import timeless

from labutils import runs
from labutils.runs import RunError
from labutils.study import markdown, records, ship, table


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


def test_a_table_at_equal_cpu_time():
    found = [record(epoch=epoch, cpu=10.0 * epoch, fd=epoch) for epoch in (1, 2, 3)]
    found += [record(seed=1, epoch=epoch, cpu=12.0 * epoch, fd=epoch) for epoch in (1, 2, 3)]
    found += [record(row="B", cpu=50.0, fd=0)]
    (line,) = table(found, at_cpu_seconds=20)
    assert (line["row"], line["epoch"], line["seeds"]) == ("A", 1.5, 2)  # 20 seconds: two epochs, and one
    assert line["fd"]["mean"] == 1.5
    assert [line["epoch"] for line in table(found, at_cpu_seconds=math.inf)] == [3, 1]


def test_a_table_counts_what_diverged():
    gone_wrong = record(seed=1, epoch=2, cpu=1.5, diverged=True)
    first, second = table([record(fd=1.0), record(seed=1, fd=3.0), record(epoch=2, cpu=2.0, fd=0.5), gone_wrong])
    assert (first["seeds"], first["diverged"], first["fd"]["mean"]) == (2, 0, 2.0)
    assert (second["seeds"], second["diverged"], second["fd"]["mean"]) == (2, 1, 0.5)
    assert markdown([second], ("fd", "other")).splitlines() == [
        "| row | epoch | seeds | CPU s | fd |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| A | 2 | 2, 1 diverged | 1.75 ± 0.35 | 0.500 |",
    ]


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
