"""The student's report, made from his runs, scores and answers: what `python -m labutils report` does."""

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Language, runs."""
    parser.add_argument("--lang", choices=("zh", "en"), help="of the report (default: that of the answers)")
    for model in ("mlp", "dcgan"):
        parser.add_argument(f"--{model}", metavar="RUN", help=f"the run of {model} that it is about, a folder in runs")


def main(known: argparse.Namespace) -> int:
    """Write report/report.html, and PDF and Word where pandoc and typst are; 2 with a sentence if that cannot be."""
    from labutils.course import lab, material

    try:
        if refusal := lab.not_here("report"):
            raise ValueError(refusal)
        if named := {model: name for model in material.MODELS if (name := getattr(known, model))}:
            material.choose(**named)
        write(known.lang)
    except (ValueError, RuntimeError) as refusal:
        print(refusal, file=sys.stderr)
        return 2
    return 0


def write(language: str | None = None) -> list[Path]:
    """Make the report in "zh" or "en" (default: the language of the answers); see labutils.course.report_text."""
    from labutils.course import report_text  # and with it PyTorch, which --help need not wait for

    return report_text.write(language)
