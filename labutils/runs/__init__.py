"""Runs on disk: read one (`Run`, `load_run`), and what an exact resume keeps of a training."""

from labutils.engine.files import RunError, digest, read_json, read_tensors, write_history, write_json, write_tensors
from labutils.runs.checkpoint import Checkpoint, TrainingDiverged, diverged, one_writer, open_run
from labutils.runs.run import Run, load_run, runs_folder, shipped

__all__ = ["Checkpoint", "Run", "RunError", "TrainingDiverged", "digest", "diverged", "load_run", "one_writer"]
__all__ += ["open_run", "read_json", "read_tensors", "runs_folder", "shipped", "write_history", "write_json"]
__all__ += ["write_tensors"]
