"""What grading a class costs, part by part: CPU seconds a hand-in, seconds in all, memory.

python tests/course/grading/class_of.py FOLDER 24     # makes a class
python benchmarks/grading.py FOLDER                   # grades it three times
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PARTS = {"evidence": ["--no-rescore"], "and exercises": ["--no-rescore", "--execute"], "and scores": ["--execute"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=list(PARTS))
    known = parser.parse_args()
    for part in known.parts:
        with tempfile.TemporaryDirectory() as out:
            began, command = time.monotonic(), [sys.executable, "-m", "labutils", "grade", known.folder, "--out", out]
            subprocess.run([*command, *PARTS[part]], check=True, stdout=subprocess.DEVNULL)
            seconds = time.monotonic() - began
            rows = [json.loads(path.read_text("utf8")) for path in sorted(Path(out, "rows").glob("*.json"))]
        spent = [row["cpu_seconds"] for row in rows]
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
        print(
            f"{part:14} {len(rows)} hand-ins, {sum(len(row['runs']) for row in rows)} runs: {seconds:.0f} s, a hand-in "
            f"{statistics.median(spent):.2f} CPU s (most {max(spent):.2f}); largest process {peak:.2f} GB"
        )


if __name__ == "__main__":
    main()
