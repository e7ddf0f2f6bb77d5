"""How many minutes notebooks take here: those that stand in them, times how much longer this machine trains.

Both are estimates: the minutes are whole ones, and the clock times seconds of training at this moment's load.
"""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

# What `python -m labutils doctor` says of the quick preset where the notebooks' minutes were measured: new minutes in
# the notebooks need new ones here.
REFERENCE = {"mlp": 3.7, "dcgan": 4.1}  # two processors of an AMD EPYC, AVX2 without bfloat16
SMOKE = 0.4  # a notebook in the smoke preset, most of which is imports
TRAINED_IN = {"mlp": "05", "dcgan": "06"}  # what a preset changes most of all
CLOCK = "import json; from labutils.course import doctor; print(json.dumps(doctor.predict_minutes()))"


def predicted(paths: Sequence[Path], preset: str, environment: dict[str, str]) -> str:
    """A sentence: how long these notebooks take here; "" where none says its minutes or the clock cannot be read."""
    said = {path.stem: _minutes(path) for path in paths}
    if not any(said.values()):
        return ""
    if preset == "smoke":
        return f"About {_time(SMOKE * len(said))} here, preset smoke."
    print("How long will that take here? Some seconds of training are timed.", flush=True)
    if not (here := _clock(environment)):
        return ""
    total = sum(minutes or 1 for minutes in said.values()) * sum(here["quick"].values()) / sum(REFERENCE.values())
    for model, start in TRAINED_IN.items():
        if any(name.startswith(start) for name in said):
            total += here[preset][model] - here["quick"][model]
    return f"{'About' if preset == 'quick' else 'At least'} {_time(total)} here, preset {preset}."


def _minutes(path: Path) -> int | None:
    """What stands in a notebook."""
    found = path.is_file() and re.search(r"\*\*Minutes:\*\* (\d{1,4})\b", path.read_text("utf8", "replace"))
    return int(found[1]) if found else None


def _clock(environment: dict[str, str]) -> dict[str, dict[str, float]]:
    """The doctor's prediction, from a process that gives its memory back; {} where it fails: the notebooks will say."""
    try:
        done = subprocess.run([sys.executable, "-c", CLOCK], env=environment, capture_output=True, timeout=120)
        return json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return {}


def _time(minutes: float) -> str:
    if minutes >= 90:
        return f"{minutes / 60:.1f} hours"
    return f"{minutes:.0f} minutes" if minutes >= 1.5 else "a minute"
