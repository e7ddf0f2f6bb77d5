"""A study comes out the same whatever happens to its processes, and says what is wrong with its description.

The processes that a study starts import this module, which gives them tiny networks and few images. Run as a script, it
is a process that is killed, or one whose children are.
"""

import contextlib
import json
import math
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
from filelock import FileLock
from test_resume import POSIX, ended, in_child, needs_fork

from labutils import quality, runs, study
from labutils.models import MODELS
from labutils.runs import RunError
from labutils.study import Row, Study, load_study, markdown, plan, records, run_one, run_study, ship, table

KILL = getattr(signal, "SIGKILL", signal.SIGTERM)
FEW = SimpleNamespace(images=tiny.images())
SMALL = tiny.config(images=48)
ROWS = (
    Row("Plain, averaged", tiny.config(images=48, ema=0.9), seeds=2, measure=(1,), group="a", ship_weights=True),
    Row("Breaks", tiny.config(images=48, lr=1e29), seeds=1, measure=(1, 2)),
)

if multiprocessing.current_process().name != "MainProcess" or __name__ == "__main__":
    MODELS["mlp"], study.load_mnist = tiny.NETWORKS, lambda: FEW


def cheap(generator, samples, seed) -> dict:
    """Stands in for `labutils.quality.score`, which takes seconds."""
    images = quality.draw(generator, samples, seed).double()
    return {"frechet": float(images.mean()), "spread": float(images.std()), "shares": [0.5, 0.5]}


def fatal(marker: Path, generator, samples, seed) -> dict:
    """Kills its process the first time that any process calls it, and each time for a row whose noise has 5 numbers."""
    if not marker.exists() or generator.z_dim == 5:
        marker.touch()
        os.kill(os.getpid(), KILL)
    return cheap(generator, samples, seed)


def endless(marker: Path, generator, samples, seed) -> dict:
    """Says which process it is in, and never ends."""
    runs.write_whole(marker, str(os.getpid()).encode())
    time.sleep(600)


def appeared(path: Path) -> bool:
    """Wait for a file, two minutes at most."""
    return any(path.exists() or time.sleep(0.05) for _ in range(2400))


def gone(pid: int) -> bool:
    """Wait for a process to end, a minute at most."""
    for _ in range(1200):
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def timeless(found: list[dict]) -> list[dict]:
    """Records without what no two runs share."""
    return [{key: value for key, value in record.items() if "seconds" not in key} for record in found]


def here(jobs, workers, task, tell) -> None:
    """An engine in this process, one run after the other."""
    for job in jobs:
        run_one(*job, *task)
        tell(job)


@pytest.fixture
def few(monkeypatch, tiny_networks):
    monkeypatch.setattr(study, "load_mnist", lambda: FEW)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_networks) -> Path:
    """The folder of the study of ROWS, made without any interruption."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "load_mnist", lambda: FEW)
        patch.setattr(study, "_in_processes", here)
        run_study(Study(ROWS, 64), folder, score=cheap)
    return folder


# What a study is


GOOD = 'seeds = 2\ncommon = {images = 48}\n[rows."A b"]\nepochs = 4\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rows = 3", r"s\.toml: rows is 3; expected a table"),
        ("seeds = 2", r"s\.toml: there are no rows; expected tables \[rows"),
        ("[rows", r"s\.toml is not TOML: "),
        (GOOD + "epoch = 3", r"s\.toml: row 'A b': 'epoch' is unknown; there are model, epochs, "),
        (GOOD + "seed = 3", r"row 'A b': 'seed' is unknown"),
        (GOOD + "lr = -1", r"row 'A b': lr is -1; expected a positive number"),
        (GOOD + "lr = 'high'", r"row 'A b': lr is 'high'"),
        (GOOD + "model = 'vae'", r"row 'A b': model is 'vae'; use one of 'mlp', 'dcgan'"),
        (GOOD + "measure = [0, 4]", r"row 'A b': measure is \[0, 4\]; expected a list of epochs"),
        (GOOD + "measure = 3", r"row 'A b': measure is 3; expected a list"),
        (GOOD + "seeds = 0", r"row 'A b': seeds is 0; expected a whole number of at least 1"),
        (GOOD + "seeds = true", r"row 'A b': seeds is True"),
        (GOOD + "ship_weights = 1", r"row 'A b': ship_weights is 1; expected true or false"),
        (GOOD + "[rows.'a B']", r"Two rows would be kept in the folder 'a-b'"),
        (GOOD + "[rows.'?']", r"row '\?': name is '\?'; expected a text with a letter or digit"),
        ("samples = 'all'\n" + GOOD, r"s\.toml: samples is 'all'; expected a whole number"),
        ("colour = 1\n" + GOOD, r"s\.toml: 'colour' is unknown; there are common, rows, samples, seeds, "),
        (GOOD.replace("images", "image"), r"s\.toml: common: 'image' is unknown"),
        (GOOD.replace("48", "0"), r"row 'A b': images is 0; expected a whole number of at least 2"),
    ],
)
def test_a_bad_study_is_told_by_row_and_field(text, said, tmp_path):
    (tmp_path / "s.toml").write_text(text, "utf8")
    with pytest.raises(ValueError, match=said):
        load_study(tmp_path / "s.toml")


def test_a_row_overrides_what_is_common_and_the_last_epoch_is_measured(tmp_path):
    text = "measure = [9, 1]\nseeds = 2\ncommon = {images = 48, epochs = 9}\n[rows.A]\nepochs = 4\n[rows.B]\nseeds = 1"
    (tmp_path / "s.toml").write_text(text, "utf8")
    a, b = load_study(tmp_path / "s.toml").rows
    assert (a.config.images, a.config.epochs, a.measure, a.seeds) == (48, 4, (1, 4), 2)
    assert (b.config.images, b.config.epochs, b.measure, b.seeds) == (48, 9, (1, 9), 1)


def test_a_missing_study_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"none\.toml cannot be read: No such file"):
        load_study(tmp_path / "none.toml")


def test_the_study_that_comes_with_labutils_can_be_read():
    rows = load_study().rows
    assert {"MLP, weights_init", "MLP, default init", "DCGAN, weights_init"} <= {row.name for row in rows}
    assert all(row.config.threads == 1 and row.config.precision != "auto" for row in rows)  # else runs could differ


def test_seed_by_seed_not_row_by_row():
    rows = [Row(name, SMALL, seeds=seeds) for name, seeds in (("A", 3), ("B", 1), ("C", 2))]
    names = [(row.name, seed) for row, seed in Study(tuple(rows)).jobs()]
    assert names == [("A", 0), ("B", 0), ("C", 0), ("A", 1), ("C", 1), ("A", 2)]
    assert [(row.name, seed) for row, seed in Study(tuple(rows)).jobs(["C", "A"], 1)] == [("A", 0), ("C", 0)]
    with pytest.raises(ValueError, match="There is no row 'D'; there are: A; B; C"):
        Study(tuple(rows)).jobs(["D"])
    with pytest.raises(ValueError, match="seeds is 0"):
        Study(tuple(rows)).jobs(seeds=0)


# One run


def test_what_is_kept_of_a_run(whole):
    plain = json.loads((whole / "plain-averaged" / "seed=1" / "quality.json").read_text())
    assert [(point["epoch"], point["averaged"]) for point in plain["scores"]] == [
        (1, True),
        (1, False),
        (3, True),
        (3, False),
    ]
    run = runs.load_run(whole / "plain-averaged" / "seed=1")
    assert plain["scores"][2]["cpu_seconds"] == sum(epoch["cpu_seconds"] for epoch in run.history)
    assert plain["scores"][2]["frechet"] == cheap(run.generator(), 64, study.NOISE + 1)["frechet"]
    assert plain["scores"][3]["frechet"] == cheap(run.generator(averaged=False), 64, study.NOISE + 1)["frechet"]
    assert plain["generator_parameters"] == 4 * 784 + 784


def test_a_run_that_diverges_is_a_result(whole):
    kept = json.loads((whole / "breaks" / "seed=0" / "quality.json").read_text())
    assert kept["diverged"].startswith(("The loss became", "A weight became"))
    assert str(whole) not in kept["diverged"]
    lines = table([record for record in records(whole) if record["row"] == "Breaks"])
    assert [(line["epoch"], line["seeds"], line["diverged"]) for line in lines] == [(1, 1, 1), (2, 1, 1), (3, 1, 1)]


def test_another_config_in_the_folder_is_told(whole, tmp_path, few):
    shutil.copytree(whole / "breaks", tmp_path / "breaks")
    other = Row("Breaks", tiny.config(images=48, lr=1e28))
    assert not study._finished(other, 0, tmp_path)
    with pytest.raises(RunError, match=r"holds another run: lr is 1e\+29 there, 1e\+28 here"):
        run_one(other, 0, tmp_path, 64, cheap)
    fewer = Row("Plain, averaged", tiny.config(images=48, ema=0.9, epochs=2))
    shutil.copytree(whole / "plain-averaged", tmp_path / "plain-averaged")
    with pytest.raises(RunError, match=r"has 3 epochs and no score after 2: delete it"):
        run_one(fewer, 0, tmp_path, 64, cheap)


def test_more_epochs_go_on_from_the_last(whole, tmp_path, few):
    shutil.copytree(whole / "plain-averaged", tmp_path / "plain-averaged")
    longer = Row("Plain, averaged", tiny.config(images=48, ema=0.9, epochs=4), measure=(1, 2))
    run_one(longer, 0, tmp_path, 64, cheap)
    scores = json.loads((tmp_path / "plain-averaged" / "seed=0" / "quality.json").read_text())["scores"]
    assert [point["epoch"] for point in scores[::2]] == [1, 3, 4]  # epoch 2 is past, and its generator with it


def test_the_list_of_rows_is_left_as_it_is_unless_it_is_damaged(whole, tmp_path, few, monkeypatch):
    """Two calls may work in one folder, and both would write the same temporary file."""
    folder = shutil.copytree(whole, tmp_path / "study")
    written = []
    monkeypatch.setattr(runs, "write_json", lambda path, content: written.append(path.name))
    run_study(Study(ROWS, 64), folder, score=cheap)
    assert written == []
    monkeypatch.undo()
    (folder / "study.json").write_text("{")
    monkeypatch.setattr(study, "load_mnist", lambda: FEW)
    assert len(run_study(Study(ROWS, 64), folder, score=cheap)) == len(records(whole))


def test_a_finished_run_is_left_as_it_is(whole, tmp_path, few):
    for row in ROWS:
        shutil.copytree(whole / row.slug, tmp_path / row.slug)
        run_one(row, 0, tmp_path, 64, cheap)
        assert runs.read_json(row.place(tmp_path, 0) / "quality.json") == runs.read_json(
            row.place(whole, 0) / "quality.json"
        )


def kill_at_random(folder: Path) -> dict:
    """Kill a run at random instants until one ends by itself."""
    row = Row("A", tiny.config(images=48, ema=0.9, epochs=8), measure=(1, 2, 5))
    run_one(row, 0, folder / "first", 64, cheap)  # PyTorch imports and builds much at its first training
    start = time.perf_counter()
    outcomes = [ended(in_child(lambda: run_one(row, 0, folder / "whole", 64, cheap)))]
    seconds, chance = time.perf_counter() - start, random.Random(0)
    while outcomes[-1] != "finished" or len(outcomes) == 1:
        pid = in_child(lambda: run_one(row, 0, folder / "killed", 64, cheap))
        time.sleep(chance.uniform(0, seconds / 4) * (1 + len(outcomes) / 8))
        os.kill(pid, signal.SIGKILL)
        outcomes.append(ended(pid))
    return {"outcomes": outcomes}


def kill_at_each_rename(folder: Path) -> dict:
    """Kill a run before its first file is put in its place, another before its second, and so on; let each end then."""
    row = Row("A", tiny.config(images=48, epochs=2), measure=(1,))

    def work(target: Path, number: int = 0):
        count, rename = 0, os.replace

        def counted(*paths):
            nonlocal count
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)
            rename(*paths)

        os.replace = counted
        run_one(row, 0, target, 64, cheap)

    run_one(row, 0, folder / "first", 64, cheap)  # PyTorch imports and builds much at its first training
    outcomes = [ended(in_child(lambda: work(folder / "whole")))]
    while outcomes[-1] == "finished":
        target = folder / f"{len(outcomes):03d}"
        if ended(in_child(lambda target=target: work(target, len(outcomes)))) != "killed":
            break
        outcomes.append(ended(in_child(lambda target=target: work(target))))
    return {"outcomes": outcomes}


def script(task: str, folder: Path) -> dict:
    """What `task` of this file tells, done in a process that has nothing but PyTorch in it."""
    command, environment = [sys.executable, __file__, task, str(folder)], os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def scores(folder: Path) -> list[dict]:
    return timeless(runs.read_json(folder / "a" / "seed=0" / "quality.json")["scores"])


@needs_fork
def test_killed_at_random_instants(tmp_path):
    outcomes = script("kill_at_random", tmp_path)["outcomes"]
    assert outcomes[0] == outcomes[-1] == "finished"
    assert outcomes.count("killed") >= 2
    assert "failed" not in outcomes
    assert scores(tmp_path / "killed") == scores(tmp_path / "whole")
    place = Path("a") / "seed=0"
    assert tiny.fingerprint(tmp_path / "killed" / place) == tiny.fingerprint(tmp_path / "whole" / place)


@needs_fork
def test_killed_before_each_rename(tmp_path):
    outcomes = script("kill_at_each_rename", tmp_path)["outcomes"]
    assert set(outcomes) == {"finished"}
    assert len(outcomes) > 3 * 6 + 2  # six files an epoch, with the one before training; two of scores
    for number in range(1, len(outcomes)):
        assert scores(tmp_path / f"{number:03d}") == scores(tmp_path / "whole"), f"killed before rename {number}"


# Many runs on one machine


def test_two_at_a_time_one_of_them_killed(whole, tmp_path, monkeypatch, few, capfd):
    monkeypatch.setattr(study, "RESTARTS", 1)
    dies = Row("Dies", tiny.config(images=48, z_dim=5, epochs=1), seeds=1)
    score = partial(fatal, tmp_path / "killed")
    found = run_study(Study((*ROWS, dies), 64), tmp_path / "study", workers=2, score=score)
    assert timeless(found) == timeless(records(whole))
    said = capfd.readouterr().out
    code = -9 if POSIX else 15
    assert f"Plain, averaged, seed 0: its process ended with exit code {code}" in said
    assert "Dies, seed 0: its process ended" in said
    assert "given up after 1 restarts" in said
    assert "] Breaks, seed 0: diverged. The " in said or "] Breaks, seed 0: diverged. A weight" in said
    assert "[3/4] " in said
    assert "[4/4] " not in said


def test_stopped_and_continued_with_one_worker(whole, tmp_path, few, capfd):
    run_study(Study(ROWS, 64), tmp_path, workers=1, seeds=1, score=cheap)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/seed=0/quality.json")}
    assert len(times) == 2
    changed = Row("Changed", ROWS[0].config, seeds=1)
    (tmp_path / "changed").mkdir()
    shutil.copytree(whole / "breaks" / "seed=0", tmp_path / "changed" / "seed=0")
    found = run_study(Study((*ROWS, changed), 64), tmp_path, workers=1, score=cheap)
    assert timeless(found)[: len(records(whole))] == timeless(records(whole))
    assert {path: path.stat().st_mtime_ns for path in times} == times
    said = capfd.readouterr().out
    assert "[1/2] Plain, averaged, seed 0: 3 epochs in " in said
    assert "[3/4] Plain, averaged, seed 1: 3 epochs in " in said
    assert "Changed, seed 0: " in said
    assert "holds another run: " in said
    with pytest.raises(ValueError, match="workers is 0"):
        run_study(Study(ROWS), tmp_path, workers=0)


@pytest.fixture
def interruptible():
    """Ctrl-C raises KeyboardInterrupt, also where the tests are a shell's background job, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(not POSIX, reason="needs SIGINT to oneself, which this system does not have")
def test_ctrl_c_ends_the_children(tmp_path, few, interruptible, capfd):
    marker = tmp_path / "pid"
    threading.Thread(target=lambda: appeared(marker) and os.kill(os.getpid(), signal.SIGINT)).start()
    run_study(Study(ROWS[:1], 64), tmp_path, workers=1, score=partial(endless, marker))
    assert gone(int(marker.read_text()))
    assert "Stopped: 0 of 2 runs are finished" in capfd.readouterr().out
    assert runs.load_run(tmp_path / "plain-averaged" / "seed=0").epochs == 1


def never_ends(folder: Path) -> None:
    run_study(Study(ROWS[:1], 64), folder, workers=1, score=partial(endless, folder / "pid"))


@pytest.mark.skipif(not POSIX, reason="looks for a process by its number")
def test_children_end_with_a_killed_parent(tmp_path):
    with subprocess.Popen([sys.executable, __file__, "never_ends", str(tmp_path)]) as parent:
        try:
            assert appeared(tmp_path / "pid")
        finally:
            parent.kill()
    assert gone(int((tmp_path / "pid").read_text()))


# Many machines


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as made:
        yield made


def test_a_cluster_of_which_a_worker_is_killed(whole, tmp_path, few, cluster, capfd):
    score = partial(fatal, tmp_path / "killed")
    found = run_study(Study(ROWS, 64), tmp_path / "study", scheduler=cluster.scheduler_address, score=score)
    assert (tmp_path / "killed").exists()
    assert timeless(found) == timeless(records(whole))
    assert "[3/3] " in capfd.readouterr().out


@pytest.mark.skipif(not POSIX, reason="needs SIGINT to oneself, which this system does not have")
def test_ctrl_c_stops_the_cluster_after_an_epoch(tmp_path, few, cluster, interruptible, capfd):
    long = Row("A", tiny.config(images=48, epochs=10**6), seeds=1)
    history = tmp_path / "a" / "seed=0" / "history.csv"
    threading.Thread(target=lambda: appeared(history) and os.kill(os.getpid(), signal.SIGINT)).start()
    run_study(Study((long,), 64), tmp_path, scheduler=cluster.scheduler_address, score=cheap)
    assert "Stopped: 0 of 1 runs" in capfd.readouterr().out
    with FileLock(tmp_path / "a" / ".seed=0.lock", timeout=60):  # the worker has let go of it
        assert 0 <= runs.load_run(history.parent).epochs < 10**6


def test_a_worker_with_threads_is_refused(tmp_path):
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 1, "threads_per_worker": 2, "processes": False, "dashboard_address": ":0"}
    with (
        distributed.LocalCluster(**options) as threaded,
        pytest.raises(RunError, match=r"has 2 threads.*dask worker --nthreads 1 --nworkers"),
    ):
        run_study(Study(ROWS), tmp_path, scheduler=threaded.scheduler_address)


def test_a_worker_that_cannot_take_part_says_why(tmp_path):
    worker = SimpleNamespace(state=SimpleNamespace(nthreads=1))
    assert "must be on a disk that all machines share" in study._unfit(tmp_path, study.__version__, worker)
    (tmp_path / "study.json").touch()
    assert study._unfit(tmp_path, study.__version__, worker) is None
    assert "this is 0.1. Install the same version" in study._unfit(tmp_path, "0.1", worker)


def test_no_scheduler_and_no_distributed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(RunError, match="needs the package distributed, which is not installed: python -m pip install"):
        run_study(Study(ROWS), tmp_path, scheduler="tcp://127.0.0.1:9")


@pytest.mark.parametrize(
    ("name", "slug"),
    [("DCGAN's G, MLP's D", "dcgan-s-g-mlp-s-d"), ("lr 1e-3.", "lr-1e-3"), ("多层感知机_α", "多层感知机-α")],
)
def test_the_folder_of_a_row(name, slug):
    assert Row(name, tiny.config()).slug == slug


# Results


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


@pytest.mark.parametrize("change", [{"loud": True}, {"seeds": "two"}, {"config": {"model": "mlp", "colour": 1}}])
def test_a_study_of_another_version_is_named(change, whole, tmp_path, few):
    folder = shutil.copytree(whole, tmp_path / "study")
    kept = runs.read_json(folder / "study.json")
    runs.write_json(folder / "study.json", kept | {"rows": [kept["rows"][0] | change]})
    with pytest.raises(RunError, match=r"study.json is of another labutils \(.*\): start the study there again"):
        records(folder)
    assert len(run_study(Study(ROWS, 64), folder, score=cheap)) == len(records(whole))


def test_damaged_scores_are_named_and_can_be_made_anew(whole, tmp_path, few, capfd):
    folder = shutil.copytree(whole, tmp_path / "study")
    scores = folder / "plain-averaged" / "seed=0" / "quality.json"
    scores.write_text("{")
    with pytest.raises(RunError, match=r"quality.json is damaged: delete it"):
        run_study(Study(ROWS, 64), folder, score=cheap)
    assert "Plain, averaged, seed 0: " in (said := capfd.readouterr().out)
    assert "is damaged: delete it" in said
    scores.unlink()
    last = [r for r in run_study(Study(ROWS, 64), folder, score=cheap) if r["row"] == ROWS[0].name and r["seed"] == 0]
    assert timeless(last) == timeless([r for r in records(whole) if r["row"] == ROWS[0].name and r["seed"] == 0])[2:]


def test_a_plan_goes_on_where_no_score_is_yet(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "_timed", lambda config, samples, score: [3600.0] + [1800.0] * (score is not None))
    folder = shutil.copytree(whole, tmp_path / "study")
    for path in folder.rglob("quality.json"):
        path.unlink()
    assert "hours of one processor" in plan(Study(ROWS), folder, 2, Study(ROWS).jobs(), cheap)


def test_a_plan_adds_up_epochs_and_scores(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "_timed", lambda config, samples, score: [3600.0] + [1800.0] * (score is not None))
    both = Study(ROWS)
    said = plan(both, tmp_path, 2, both.jobs(), cheap)
    # nine epochs of an hour; four scores of half an hour in each of two runs, three in the last
    assert "3 runs, of which 0 are finished in" in said
    assert "about 14.5 hours of one processor like those here, 7.2 hours of 2." in said
    assert plan(both, whole, 2, both.jobs()).startswith("3 runs, of which 3 are finished")
    assert "hours" not in plan(both, whole, 2, both.jobs())


def test_steps_are_timed_where_nothing_was_run(few):
    epoch, score = study._timed(SMALL, 64, cheap)
    assert epoch > 0
    assert score > 0
    assert len(study._timed(SMALL, 64, None)) == 1


def test_the_command_line(whole, tmp_path, capsys):
    text = [f'[rows."{row.name}"]\nseeds = {row.seeds}\nmeasure = {list(row.measure)}\n' for row in ROWS]
    common = {"epochs": 3, "batch_size": 32, "z_dim": 4, "threads": 1, "images": 48}
    toml = "samples = 64\n[common]\nprecision='float32'\ndevice='cpu'\n"
    toml += "".join(f"{key} = {value}\n" for key, value in common.items()) + f"{text[0]}ema = 0.9\n{text[1]}lr = 1e29\n"
    (tmp_path / "s.toml").write_text(toml, "utf8")
    folder = shutil.copytree(whole, tmp_path / "study")
    command = [str(tmp_path / "s.toml"), "--folder", str(folder)]
    assert study.main([*command, "--plan"]) == 0
    assert capsys.readouterr().out == f"3 runs, of which 3 are finished in {folder}.\n"
    assert study.main(command) == 0
    assert "| Plain, averaged, averaged | 3 | 2 |" in capsys.readouterr().out
    assert study.main([*command, "--table"]) == 0
    assert study.main([*command, "--ship", str(tmp_path / "shipped")]) == 0
    assert f" MB in {tmp_path / 'shipped'}" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        study.main([*command, "--rows", "Nothing"])
    assert "There is no row 'Nothing'" in capsys.readouterr().err


def test_a_run_with_its_real_score(tmp_path):
    row = Row("A", tiny.config(images=64, epochs=1))
    run_one(row, 0, tmp_path, 2_000)
    (point,) = runs.read_json(tmp_path / "a" / "seed=0" / "quality.json")["scores"]
    made = {key: point[key] for key in quality.Quality.__dataclass_fields__}
    images = quality.draw(runs.load_run(tmp_path / "a" / "seed=0").generator(), 2_000, study.NOISE)
    assert quality.Quality.from_dict(made) == quality.score(images)
    assert made["frechet"] > 100  # one epoch on 64 images


if __name__ == "__main__":
    told = globals()[sys.argv[1]](Path(sys.argv[2]))
    print(json.dumps(told))
