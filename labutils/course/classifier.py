"""Train the small classifier that scores generated digits: what `python -m labutils classifier` does."""

import argparse

from labutils.engine.paths import expanded


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to write it."""
    parser.add_argument("--folder", metavar="F", help="where to write it (default: runs/classifier)")


def main(known: argparse.Namespace) -> int:
    """Train into the folder and say what came of it; 0 unless it cannot be written."""
    from labutils import quality, runs  # seconds, which --help need not wait for

    try:
        folder = expanded(known.folder or runs.runs_folder() / "classifier")
        record = quality.train_classifier(folder)
    except (ValueError, OSError, runs.RunError) as error:
        print(error)
        return 2
    print(f"{folder}: {record['test_accuracy']:.2%} of the test images are read rightly.")
    return 0
