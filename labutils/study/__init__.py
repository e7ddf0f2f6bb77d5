"""Many runs side by side: entries (a TrainConfig each) times seeds, on one machine or a cluster, and what came of them.

A study's folder holds study.json (its entries) and for each run <entry>/seed=<k>/: a run as `labutils.training.train`
keeps it, and beside it quality.json, the scores of its generator after some of its epochs.
"""

import importlib

FACE = {
    **dict.fromkeys(("SHIPPED", "Entry", "Study", "load_study"), "rows"),
    **dict.fromkeys(("measured", "run_one"), "one_run"),
    **dict.fromkeys(("machines", "markdown", "merge", "records", "ship", "table"), "results"),
    **dict.fromkeys(("budgets", "compare", "report", "verdicts", "with_all_seeds"), "comparisons"),
    "run_study": "workers",
}
__all__ = list(FACE)


def __getattr__(name: str):
    """A name of the face, imported when it is asked for: the command line needs `command` alone, without PyTorch."""
    if name not in FACE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{FACE[name]}"), name)
