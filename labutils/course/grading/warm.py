"""Imported once by the process that all graders of hand-ins are forked from: what they share is in memory before."""

import contextlib
import ctypes
import gc

from labutils.course.grading import evidence, exercises, one, slices
from labutils.quality.score import reference

exercises.catalogue()
evidence.sha256(60_000)
reference()
exercises.prepare()
for cells in one.untouched().values():
    slices.statements((cell["type"], cell["source"]) for cell in cells if cell["type"] == "code")
with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library than glibc
    ctypes.CDLL(None).malloc_trim(0)  # memory that is free is mapped in each child all the same
gc.freeze()  # what is here stays: no child looks through it again, nor copies it by that
