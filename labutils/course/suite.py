"""Ruff, the quick tests and every notebook, all of them even if one fails: what `python -m labutils test` does."""

import argparse
import codecs
import contextlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from labutils.course import lab
from labutils.engine.clock import processors


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which tests; what it does not know goes to pytest."""
    parser.usage = f"{parser.prog} [-h] [--thorough] [PYTEST'S OPTIONS ...]"
    does = "the tests that take long in place of the quick ones, neither ruff nor notebooks by themselves"
    parser.add_argument("--thorough", action="store_true", help=does)


def main(known: argparse.Namespace) -> int:
    """Run all parts; 0 if each of them passes."""
    refusal = lab.not_here("test")
    try:
        lab.check_writable(lab.ROOT)  # the tools keep caches in it
    except OSError as error:
        refusal = refusal or str(error)
    if refusal:
        print(refusal, file=sys.stderr)
        return 2
    return run_tests(known.passed_on, known.thorough)


def run_tests(options: list[str], thorough: bool = False) -> int:
    """Run ruff, the quick tests and every notebook, or the thorough tests; all, even if one fails; 0 if all pass."""
    absent = [name for name in ("pytest", "nbval", "xdist", "ruff") if not importlib.util.find_spec(name)]
    if absent:
        print(f"Not installed: {', '.join(absent)}. In the lab's folder: python -m pip install --editable .[test]")
        return 2
    notebooks = committed(lab.ROOT)
    if stray := set((lab.ROOT / "notebooks").glob("*.ipynb")) - set(notebooks):
        print(f"Not tested, since git does not keep them: {', '.join(sorted(path.name for path in stray))}")
    workers = min(4, processors())
    nbval = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=120"]
    # a notebook stays in one worker; the order is that of tests/conftest.py
    parallel = ["-n", str(workers), "--dist", "loadfile", "--no-loadscope-reorder"] if workers > 1 else []
    commands = {"ruff check": ["ruff", "check", "."], "ruff format": ["ruff", "format", "--check", "."]}
    commands["pytest"] = ["pytest", "tests", *[f"notebooks/{path.name}" for path in notebooks], "-m", "not thorough"]
    if thorough:
        commands = {"pytest": ["pytest", "tests", "-m", "thorough"]}
    commands["pytest"] += [*nbval, *parallel, *options]
    results = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        kept = {key: value for key, value in os.environ.items() if key not in ("LABUTILS_DATA", "MPLBACKEND")}
        # one thread a worker: several that share a core are several times slower than one
        environment = kept | {"LABUTILS_PRESET": "smoke", "LABUTILS_RUNS": folder, "OMP_NUM_THREADS": "1"}
        environment |= {"LABUTILS_REPORT": os.path.join(folder, "report")}
        for name, command in commands.items():
            print(f"== {' '.join(command)}", flush=True)
            results[name] = _echo([sys.executable, "-m", *command], environment)
    print("== summary")
    for name, (code, last) in results.items():
        print(f"{name:12}{'failed' if code else 'passed'}: {last}")
    return int(any(code for code, _ in results.values()))


def committed(root: Path) -> list[Path]:
    """The notebooks below `root` that git keeps, and not a copy of one's own; all of them where git keeps none."""
    kept = set()
    with contextlib.suppress(OSError):  # there is no git
        listed = subprocess.run(["git", "ls-files", "-z", "notebooks"], cwd=root, capture_output=True)
        kept = {os.path.basename(name) for name in os.fsdecode(listed.stdout).split("\0")}
    paths = sorted((root / "notebooks").glob("*.ipynb"))
    return [path for path in paths if path.name in kept] or paths


def _echo(command: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Run a command in the lab's folder and show what it prints as it prints it; its exit code and last line."""
    decode, text = codecs.getincrementaldecoder("utf8")("replace").decode, ""
    with subprocess.Popen(
        command, cwd=lab.ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        while chunk := process.stdout.read1():
            shown = decode(chunk)
            sys.stdout.write(shown.encode("ascii", "backslashreplace").decode())  # whatever this terminal can show
            sys.stdout.flush()
            text = (text + shown)[-2000:]
    return process.returncode, text.strip().rpartition("\n")[2].strip()
