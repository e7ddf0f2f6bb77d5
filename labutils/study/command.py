"""`python -m labutils study`: its arguments, and what it does; PyTorch is imported when there is something to do."""

import argparse
import math
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command can be told."""
    parser.description = "Train and score many runs, as many at a time as there are processors."
    parser.add_argument("file", nargs="?", help="a TOML file (default: the study that comes with labutils)")
    parser.add_argument("--folder", type=Path, help="where it is kept (default: runs/study)")
    parser.add_argument("--workers", type=int, help="runs at a time (default: one a processor)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster to run on, such as tcp://host:8786")
    parser.add_argument("--seeds", type=int, metavar="N", help="at most so many seeds a row")
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="these rows only")
    parser.add_argument("--plan", action="store_true", help="only say how many runs are left and how long they take")
    parser.add_argument("--table", action="store_true", help="only print the table of what there is")
    parser.add_argument("--ship", metavar="FOLDER", help="only copy the small records there")


def main(known: argparse.Namespace) -> int:
    """Do what the arguments ask for; returns the exit code, 1 if runs are left, 2 where a sentence says why not."""
    from labutils.engine.clock import processors
    from labutils.runs import RunError, runs_folder
    from labutils.study import load_study, markdown, records, run_study, ship, table
    from labutils.study.one_run import finished
    from labutils.study.plan import plan

    try:
        if known.workers is not None and known.workers < 1:
            raise ValueError(f"--workers is {known.workers}; expected a whole number of at least 1.")
        folder = (known.folder or runs_folder() / "study").expanduser().absolute()
        workers = None if known.scheduler else known.workers or processors()
        if known.ship:
            print(f"{ship(folder, known.ship) / 1e6:.1f} MB in {known.ship}")
            return 0
        if not known.table:
            study = load_study(known.file)
            jobs = study.jobs(known.rows, known.seeds)
            print(plan(study, folder, workers, jobs), flush=True)
            if known.plan:
                return 0
            run_study(study, folder, workers=workers, scheduler=known.scheduler, rows=known.rows, seeds=known.seeds)
        print(markdown(table(records(folder), at_cpu_seconds=math.inf)))
        return int(not known.table and not all(finished(*job, folder) for job in jobs))
    except (ValueError, RunError) as error:
        print(error, file=sys.stderr)
        return 2
