"""`python -m labutils study`: its arguments, and what it does; PyTorch is imported when there is something to do."""

import argparse
import math
import sys
from pathlib import Path

from labutils.engine.paths import expanded
from labutils.study.scheduler import why_not

MOST_WORKERS = 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command can be told."""
    parser.description = "Train and score many runs, as many at a time as there are processors."
    parser.add_argument("file", nargs="?", help="a TOML file (default: the study that comes with labutils)")
    parser.add_argument("--folder", type=Path, help="where it is kept (default: runs/study)")
    parser.add_argument("--workers", type=int, help="runs at a time (default: one a processor, three on a GPU)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster to run on, such as tcp://host:8786")
    parser.add_argument("--seeds", type=int, metavar="N", help="at most so many seeds a row")
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="these rows only")
    parser.add_argument("--plan", action="store_true", help="only say how many runs are left and how long they take")
    parser.add_argument("--table", action="store_true", help="only print the table of what there is")
    parser.add_argument("--merge", metavar="FOLDER", help="only take the finished runs there, of another machine")
    parser.add_argument("--ship", metavar="FOLDER", help="only copy the small records there")


def main(known: argparse.Namespace) -> int:
    """Do what the arguments ask for; returns the exit code, 1 if runs are left, 2 where a sentence says why not."""
    if not (known.table or known.ship or known.merge):
        why = "" if known.scheduler is None or known.plan else why_not(known.scheduler)
        if known.workers is not None and not 0 < known.workers <= MOST_WORKERS:
            why = f"--workers is {known.workers}; expected a whole number of at least 1, at most {MOST_WORKERS}."
        if why:
            print(why, file=sys.stderr)
            return 2
        print("Counting the runs that are finished; where nothing was trained yet, some steps are timed.", flush=True)
    from labutils.runs import RunError  # from here on PyTorch is imported, which takes seconds

    try:
        return _main(known)
    except (ValueError, RunError) as error:
        print(error, file=sys.stderr)
        return 2


def _main(known: argparse.Namespace) -> int:
    from labutils.runs import runs_folder
    from labutils.study import load_study, machines, markdown, merge, records, run_study, ship, table, with_all_seeds
    from labutils.study.one_run import finished
    from labutils.study.plan import plan
    from labutils.study.rows import check_writable
    from labutils.study.workers import at_once

    folder = expanded(known.folder or runs_folder() / "study")
    if known.ship:
        print(f"{ship(folder, known.ship) / 1e6:.1f} MB in {known.ship}")
        return 0
    if known.table:
        found = records(folder)
        print(f"{markdown(table(with_all_seeds(found), at_cost=math.inf))}\n\n{machines(found)}")
        return 0
    study = load_study(known.file)
    if known.merge:
        print(f"{merge(study, known.merge, folder)} runs of {known.merge} are in {folder} now.")
        return 0
    jobs = study.jobs(known.rows, known.seeds)
    check_writable(folder)
    on_cluster = known.scheduler is not None
    for line in plan(study, folder, None if on_cluster else known.workers or at_once(), jobs):
        print(line, flush=True)
        if on_cluster and not known.plan:
            break  # how fast this machine is says nothing about those
    if known.plan:
        return 0
    run_study(study, folder, workers=known.workers, scheduler=known.scheduler, rows=known.rows, seeds=known.seeds)
    print(markdown(table(records(folder), at_cost=math.inf)))
    return int(not all(finished(*job, folder) for job in jobs))
