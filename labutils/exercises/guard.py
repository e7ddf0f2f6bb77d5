"""Beside the student's code: call it, watch what it changes, and hand on what was seen as plain data.

Nothing here judges. A grader runs this file in the process that holds a student's code.
"""

import contextlib
import copy
import inspect
import math
import os
import random
import sysconfig
import traceback
from pathlib import Path

import numpy
import torch
from torch import Tensor, nn

SEED = 20140610  # a code that sets another seed is seen
HERE = str(Path(__file__).parent)
LIBRARIES = [*{sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}, str(Path(HERE).parent)]
SHARED = (torch, Tensor, nn, nn.functional, nn.init, math)  # an answer that puts its own function there is seen
SETTINGS = (  # how to read and to set what holds for all later cells
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_num_threads, torch.set_num_threads),
    (os.getcwd, os.chdir),
    (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
)
STUB = {"NotImplementedError", "super", "__init__", "__class__"}  # all that the code of a stub names


class Answer:
    """A student's function or class: calling it notes what it changed of its arguments and of what all code shares."""

    def __init__(self, theirs, may_change):
        self.theirs, self.may_change, self.changed, self.calls = theirs, may_change, [], 0

    def __call__(self, *given, **named):
        before, around = [_state(value) for value in given], _around()
        out = self.theirs(*given, **named)
        self.calls += 1
        if not inspect.isgenerator(out):
            self._compare(given, before, around)
            return out
        return self._watched(out, given, before, around)

    def _watched(self, generator, given, before, around):
        yield from generator
        self._compare(given, before, around)

    def _compare(self, given, before, around) -> None:
        for (value, old), name in zip(zip(given, before, strict=True), _names(self.theirs, given), strict=True):
            for aspect, new in _state(value).items():
                self._note(aspect, name, old.get(aspect), new)
        for aspect, new in _around().items():
            self._note(aspect, "", around[aspect], new)
        _set(around)

    def _note(self, aspect, name, old, new) -> None:
        if aspect not in self.may_change and not _equal(old, new) and [aspect, name] not in self.changed:
            self.changed.append([aspect, name])


def observe(exercise, answer, case: dict) -> dict:
    """Have `exercise` call `answer` on a copy of `case` -> what was seen, plain data: `perform`'s dictionary, and

    "changed": pairs [aspect, argument's name] of what the answer changed and must not; "error": None or a dictionary
    of what was raised. The caller's random state, gradient mode and default type are as before afterwards.
    """
    answers = answer if exercise.takes > 1 and isinstance(answer, tuple) else (answer,)
    given = [Answer(each, exercise.may_change) if callable(each) else each for each in answers]
    seen = {"error": None}
    with _restored() as replaced:
        try:
            performed = exercise.perform(tuple(given) if exercise.takes > 1 else given[0], copy.deepcopy(case))
            seen |= {key: plain(value) for key, value in performed.items()}
        except BaseException as error:  # exit() and Ctrl-C too
            seen["error"] = _told(error, given)
    changed = [change for each in given if isinstance(each, Answer) for change in each.changed]
    return seen | {"changed": changed + replaced}


def plain(value, depth: int = 8):
    """Numbers, texts, None, tensors (on the CPU, without a graph), lists and dictionaries of them.

    Anything else becomes {"kind": its type's name, "shown": its text}, an array also with its numbers as "value".
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    with contextlib.suppress(Exception):
        if isinstance(value, numpy.generic):
            return value.item()
        if isinstance(value, Tensor):
            return value.detach().as_subclass(Tensor).cpu().to_dense().resolve_conj().clone()
        if isinstance(value, list | tuple) and depth and len(value) <= 10_000:
            return [plain(item, depth - 1) for item in value]
        if isinstance(value, dict) and depth and len(value) <= 10_000:
            return {str(key): plain(item, depth - 1) for key, item in value.items()}
    odd = {"kind": type(value).__name__, "shown": _text(value)}  # here, because the text of many images takes minutes
    return odd | {"value": plain(value.tolist())} if isinstance(value, numpy.ndarray) and depth else odd


def _text(value) -> str:
    try:
        return "a generator, as yield makes it" if inspect.isgenerator(value) else repr(value)[:200]
    except Exception:
        return f"<{type(value).__name__}>"


def _names(function, given) -> list[str]:
    """The names of the arguments, as the function calls them."""
    names = [f"argument {i + 1}" for i in range(len(given))]
    with contextlib.suppress(TypeError, ValueError):
        kinds = [p for p in inspect.signature(function).parameters.values() if p.kind in (0, 1)]
        names[: len(kinds)] = [p.name for p in kinds[: len(given)]]
    return names


def _state(value) -> dict:
    """What a function can change of an argument, by aspect."""
    if isinstance(value, list | tuple | dict):
        items = value.values() if isinstance(value, dict) else value
        states, aspects = [_state(item) for item in items], ("values", "requires_grad", "gradients", "modes")
        return {aspect: [state.get(aspect) for state in states] for aspect in aspects}
    if not isinstance(value, Tensor | nn.Module):
        return {"values": value if isinstance(value, bool | int | float | str) else None}
    tensors = [value] if isinstance(value, Tensor) else [*value.parameters(), *value.buffers()]
    leaves = [tensor for tensor in tensors if tensor.is_leaf]
    return {
        "values": [tensor.detach().clone() for tensor in tensors],
        "requires_grad": [tensor.requires_grad for tensor in tensors],
        "gradients": [None if tensor.grad is None else tensor.grad.clone() for tensor in leaves],
        "modes": [module.training for module in value.modules()] if isinstance(value, nn.Module) else [],
    }


def _around() -> dict:
    """What all code of a process shares."""
    states = [torch.get_rng_state(), repr(random.getstate()), repr(numpy.random.get_state())]  # noqa: NPY002
    shared = {"grad mode": torch.is_grad_enabled(), "settings": [read() for read, _ in SETTINGS]}
    return shared | {"seed": torch.initial_seed(), "random": states}


def _set(around: dict) -> None:
    """Gradient mode and settings as they were."""
    torch.set_grad_enabled(around["grad mode"])
    for (read, write), value in zip(SETTINGS, around["settings"], strict=True):
        if read() != value:
            write(value)


def _equal(a, b) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        alike = a.shape == b.shape and a.dtype == b.dtype
        return alike and (torch.equal(a, b) or torch.allclose(a, b, 0, 0, equal_nan=True))
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_equal, a, b))
    return type(a) is type(b) and (a == b or a != a)


def _is_theirs(thing) -> bool:
    """Whether no library wrote this function: PyTorch wraps some of its own when it is first asked for more."""
    file = getattr(getattr(thing, "__code__", None), "co_filename", "")
    return callable(thing) and not file.startswith(tuple(LIBRARIES))


@contextlib.contextmanager
def _restored():
    """Gradients on and a known seed inside; afterwards all that code shares is as it was.

    The list given is filled with what was replaced in SHARED.
    """
    around, states = _around(), (random.getstate(), numpy.random.get_state())  # noqa: NPY002
    functions, replaced = [dict(vars(owner)) for owner in SHARED], []
    with torch.random.fork_rng(devices=[]):
        try:
            torch.set_grad_enabled(True)
            torch.random.default_generator.manual_seed(SEED)
            random.seed(SEED)
            numpy.random.seed(SEED)  # noqa: NPY002
            yield replaced
        finally:
            for owner, old in zip(SHARED, functions, strict=True):
                for name in (n for n in old if vars(owner).get(n) is not old[n] and _is_theirs(vars(owner).get(n))):
                    setattr(owner, name, old[name])
                    replaced.append(["replaced", name])
            _set(around)
            random.setstate(states[0])
            numpy.random.set_state(states[1])  # noqa: NPY002


def _told(error: BaseException, answers) -> dict:
    """What was raised and where, in the student's own lines; `kind` says whose fault it can be.

    "stub": the answer is as it was given; "unfinished": a part of it is; "theirs": the student's code is on the way;
    "stopped": by Ctrl-C; "call": it could not be called so; "use": another library raised it, called with what the
    answer returned; "check".
    """
    frames = list(traceback.walk_tb(error.__traceback__))
    codes = [frame.f_code for frame, _ in frames]
    files = [code.co_filename for code in codes]
    own = [i for i, file in enumerate(files) if not any(file.startswith(f) for f in (*LIBRARIES, "<frozen"))]
    code = codes[-1]
    last = own[-1:] == [len(frames) - 1]  # not in a library that it called
    if isinstance(error, NotImplementedError) and last and "NotImplementedError" in code.co_names:
        arguments = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4) + bool(code.co_flags & 8)
        stub = set(code.co_names) <= STUB and code.co_nlocals == arguments  # nothing but the raise, and no variable
        others = any(each.calls for each in answers if isinstance(each, Answer))
        what = "stub" if stub and not others else "unfinished"
    elif isinstance(error, KeyboardInterrupt):
        what = "stopped"
    elif code is Answer.__call__.__code__:
        what = "call"
    elif own or Answer.__call__.__code__ in codes:  # or a library's function that was handed in
        what = "theirs"
    else:
        what = "check" if files[-1].startswith(HERE) else "use"
    trace = traceback.extract_tb(error.__traceback__)
    lines = [*dict.fromkeys(_line(trace[i]) for i in own[:-6:-1])][:3]  # the innermost first
    told = traceback.TracebackException(type(error), error, None)  # whose text never raises
    message = " ".join(str(told).split())[:300] or "(it says nothing)"
    return {"kind": what, "type": type(error).__name__, "message": message, "lines": lines}


def _line(frame: traceback.FrameSummary) -> str:
    cell = "ipykernel" in frame.filename or frame.filename.startswith("<")
    where = "your cell" if cell else Path(frame.filename).name
    return f"{where}, line {frame.lineno}, in {frame.name}" + (f": `{frame.line}`" if frame.line else "")
