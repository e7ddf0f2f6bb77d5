"""The command line: one parser, to which the module of the command asked for adds its own arguments.

Only that module is imported, and each is made to be imported in a moment: it has `add_arguments(parser)` and
`main(known)`, which returns the exit code. Where Python or packages are missing the doctor must still be reached.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys

COMMANDS = {  # name -> its module, what it does
    "run": ("labutils.course.lab", "execute the notebooks in order and write build/lab.html"),
    "lab": ("labutils.course.workcopy", "JupyterLab on your own copies of the notebooks, in work/"),
    "test": ("labutils.course.suite", "unit tests, every notebook in the smoke preset, ruff; options go to pytest"),
    "student": ("labutils.course.student", "say who works here; prints the seed made of it"),
    "report": ("labutils.course.report", "make your report of your runs and answers: report/report.html"),
    "handin": ("labutils.course.handin", "write one file to hand in, or check one"),
    "doctor": ("labutils.course.doctor", "is this machine ready, and how long will the lab take"),
    "classifier": ("labutils.course.classifier", "train the small classifier that scores generated digits"),
    "grade": ("labutils.course.grading.command", "grade a class from its hand-ins: evidence, exercises, one page"),
    "study": ("labutils.study.command", "train and score many runs side by side"),
}
PASSED_ON = ("test", "lab")  # options that these do not know are pytest's or JupyterLab's


def main(arguments: list[str] | None = None) -> int:
    """Run the command that `arguments` (default: those of the process) name; returns the exit code.

    What a command says may go to a pipe that nobody reads any more, or to a full disk: no traceback for that either.
    """
    if sys.stdout is None:  # closed by whoever started this
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    try:
        try:
            return _main(arguments)
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        with contextlib.suppress(OSError, ValueError):  # at its end Python flushes once more
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 141  # as a shell calls it, 128 + SIGPIPE
        gone = isinstance(error, FileNotFoundError)
        what = "The folder that you are in was deleted, cd to another" if gone else "The output cannot be written"
        what = f"{error.filename} cannot be used" if error.filename else what
        with contextlib.suppress(OSError):
            print(f"{what}: {error.strerror or error}.", file=sys.stderr)
        return 2


def _main(arguments: list[str] | None) -> int:
    os.getcwd()  # raises if it was deleted, in which MKL would end the process without a word
    arguments = sys.argv[1:] if arguments is None else arguments
    asked = next((word for word in arguments if not word.startswith("-")), None)
    parser = argparse.ArgumentParser(prog="python -m labutils", description="The GAN lab's commands.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, does) in COMMANDS.items():
        command = commands.add_parser(name, help=does, description=f"{does[0].upper()}{does[1:]}.")
        if name == asked:
            importlib.import_module(module).add_arguments(command)
    known, unknown = parser.parse_known_args(arguments)
    if known.command in PASSED_ON:
        known.passed_on = unknown
    elif unknown:
        parser.error(f"{known.command} knows no {' '.join(unknown)}")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a path may hold letters that this terminal cannot show
    if known.command != "doctor":  # which finds it, and must run where there is nothing else
        _check_folders(parser)
    return importlib.import_module(COMMANDS[known.command][0]).main(known)


def _check_folders(parser: argparse.ArgumentParser) -> None:
    from labutils.engine.paths import expanded

    for name in ("LABUTILS_RUNS", "LABUTILS_DATA", "LABUTILS_WORK"):
        try:
            expanded(os.environ.get(name, ""))
        except ValueError as error:
            parser.error(f"{name} is {error}")
