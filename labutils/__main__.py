"""The command line: `python -m labutils run`, `test`, `doctor`, `classifier`, `study`; each imported when asked for."""

import argparse
import codecs
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from labutils.study import command as study

ROOT = Path(__file__).parents[1]
PRESETS = ("smoke", "quick", "full")  # those of labutils.training, which takes seconds to import


def main(arguments: list[str] | None = None) -> int:
    """Run the command that `arguments` (default: those of the process) name; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m labutils", description="The GAN lab's commands.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="execute the notebooks in order and write build/report.html")
    run.add_argument("notebook", nargs="*", help="such as 05 or 05_training; all, if none is named")
    run.add_argument("--preset", choices=PRESETS, help="sizes (default: LABUTILS_PRESET, or else quick)")
    run.add_argument("--update", action="store_true", help="also write the executed notebooks back to notebooks/")
    run.add_argument(
        "--cell-timeout", type=int, metavar="S", help="stop a cell after S seconds (default: 3600; full: none)"
    )
    commands.add_parser("test", help="unit tests, every notebook in the smoke preset, ruff; options go to pytest")
    classifier = commands.add_parser("classifier", help="train the small classifier that scores generated digits")
    classifier.add_argument("--folder", metavar="F", help="where to write it (default: runs/classifier)")
    commands.add_parser("doctor", help="is this machine ready, and how long will the lab take", add_help=False)
    study.add_arguments(commands.add_parser("study", help="train and score many runs side by side"))
    known, rest = parser.parse_known_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a path may hold letters that this terminal cannot show
    if known.command == "doctor":
        return importlib.import_module("labutils.doctor").main(rest)
    if known.command == "study":
        if rest:
            parser.error(f"study knows no {' '.join(rest)}")
        return study.main(known)
    if known.command == "classifier":
        if rest:
            parser.error(f"classifier knows no {' '.join(rest)}")
        return make_classifier(known.folder)
    missing = [name for name in ("notebooks", "tests", "pyproject.toml") if not (ROOT / name).exists()]
    if missing:
        parser.exit(
            2,
            f"There is no {' and no '.join(missing)} beside this labutils ({ROOT / 'labutils'}): it was installed "
            f"without the lab's folder. Call `python -m labutils {known.command}` in a clone of the lab.\n",
        )
    if known.command == "test":
        return run_tests(rest)
    if rest:
        parser.error(f"run knows no {' '.join(rest)}")
    preset = known.preset or os.environ.get("LABUTILS_PRESET") or "quick"
    if preset not in PRESETS:
        parser.exit(2, f"LABUTILS_PRESET is {preset!r}, which is no preset; use one of {', '.join(PRESETS)}.\n")
    if known.cell_timeout is not None and known.cell_timeout < 1:
        parser.error(f"--cell-timeout is {known.cell_timeout}; expected a whole number of seconds, at least 1.")
    from labutils import notebooks

    timeout = known.cell_timeout or (None if preset == "full" else 3600)
    try:
        return notebooks.run(known.notebook, preset, known.update, timeout)
    except (ValueError, OSError) as error:
        parser.exit(2, f"{error}\n")


def make_classifier(folder: str | None) -> int:
    """Train the digit classifier into `folder` and say what came of it; 0 unless it cannot be written."""
    from labutils import quality, runs

    try:
        folder = folder or runs.runs_folder() / "classifier"
        record = quality.train_classifier(folder)
    except (ValueError, OSError, runs.RunError) as error:
        print(error)
        return 2
    print(f"{folder}: {record['test_accuracy']:.2%} of the test images are read rightly.")
    return 0


def run_tests(options: list[str]) -> int:
    """Run ruff, the unit tests and every notebook, all of them even if one fails; 0 if all pass."""
    absent = [name for name in ("pytest", "nbval", "xdist", "ruff") if not importlib.util.find_spec(name)]
    if absent:
        print(f"Not installed: {', '.join(absent)}. In the lab's folder: python -m pip install --editable .[test]")
        return 2
    workers = min(4, os.cpu_count() or 1)
    nbval = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=120"]
    parallel = ["-n", str(workers), "--dist", "loadfile"] if workers > 1 else []  # a notebook stays in one worker
    commands = {
        "ruff check": ["ruff", "check", "."],
        "ruff format": ["ruff", "format", "--check", "."],
        "pytest": ["pytest", "tests", "notebooks", *nbval, *parallel, *options],
    }
    results = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        kept = {key: value for key, value in os.environ.items() if key not in ("LABUTILS_DATA", "MPLBACKEND")}
        # one thread a worker: several that share a core are several times slower than one
        environment = kept | {"LABUTILS_PRESET": "smoke", "LABUTILS_RUNS": folder, "OMP_NUM_THREADS": "1"}
        for name, command in commands.items():
            print(f"== {' '.join(command)}", flush=True)
            results[name] = _echo([sys.executable, "-m", *command], environment)
    print("== summary")
    for name, (code, last) in results.items():
        print(f"{name:12}{'failed' if code else 'passed'}: {last}")
    return int(any(code for code, _ in results.values()))


def _echo(command: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Run a command in the lab's folder and show what it prints as it prints it; its exit code and last line."""
    decode, text = codecs.getincrementaldecoder("utf8")("replace").decode, ""
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        while chunk := process.stdout.read1():
            shown = decode(chunk)
            sys.stdout.write(shown.encode("ascii", "backslashreplace").decode())  # whatever this terminal can show
            sys.stdout.flush()
            text = (text + shown)[-2000:]
    return process.returncode, text.strip().rpartition("\n")[2].strip()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
