"""The student's own copies of the notebooks, in `work/` at the top of the lab's folder."""

import os
from pathlib import Path

from labutils.engine.paths import expanded


def folder() -> Path:
    """Where they are kept: LABUTILS_WORK, or `work` at the top of the lab's folder."""
    return expanded(os.environ.get("LABUTILS_WORK") or Path(__file__).parents[2] / "work")
