"""What a check is made of: the exercise, the result it returns, the comparison that names a student's mistake."""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

EXERCISES: dict[str, "Exercise"] = {}  # by number: EXERCISES["5.2"](answer) checks an answer to exercise 5.2


class Wrong(Exception):
    """An answer is not right yet; the message says in which way."""


@dataclass(frozen=True, repr=False)
class Result:
    """What a check found, true where the answer is right; `sentence` is what it printed after the exercise's number."""

    number: str
    state: str  # "right", "wrong", "untouched" (the stub raises NotImplementedError) or "error" (another exception)
    sentence: str

    def __bool__(self) -> bool:
        return self.state == "right"

    def __repr__(self) -> str:
        return f"<exercise {self.number}: {self.state}>"  # a notebook shows it beneath the sentence


@dataclass(eq=False)
class Exercise:
    """One exercise. Called with the student's answer, it prints one sentence and returns a Result; it never raises.

    `body` takes the answer, and raises Wrong(sentence) where it is not right.
    """

    number: str
    body: Callable

    def __post_init__(self):
        functools.update_wrapper(self, self.body)  # its name and docstring, for `exercises.slerp?`
        EXERCISES[self.number] = self

    def __call__(self, *answer) -> Result:
        try:
            self.body(*answer)
            state, sentence = "right", "correct."
        except NotImplementedError:
            state, sentence = "untouched", "not attempted yet."
        except Wrong as wrong:
            state, sentence = "wrong", f"not yet. {wrong}"
        except Exception as error:
            state, sentence = "error", f"your code raised {type(error).__name__}: {error}"
        print(f"Exercise {self.number}: {sentence}")
        return Result(self.number, state, sentence)


def exercise(number: str) -> Callable[[Callable], Exercise]:
    """Make the decorated function the body of exercise `number`."""
    return functools.partial(Exercise, number)


def expect(
    out, right, mistakes: Iterable[tuple], otherwise: str, atol: float = 1e-4, rtol: float = 1e-5, near: float = 0
) -> None:
    """Raise Wrong unless `out` is `right`: with the reason of the mistake that gives `out`, else with `otherwise`.

    Values are numbers, pairs of them or tensors; `mistakes` holds pairs (value, reason). `out` is the same as a value
    within atol + rtol * |value|; NaN is the same as nothing. A mistake that gives the right value here is none. `near`
    takes the place of atol for mistakes, where it is larger.
    """
    if _same(out, right, atol, rtol):
        return
    near = max(near, atol)
    for value, reason in mistakes:
        if _same(out, value, near, rtol) and not _same(value, right, near, rtol):
            raise Wrong(reason)
    raise Wrong(otherwise)


def _same(out, value, atol: float, rtol: float) -> bool:
    try:
        out, value = (torch.as_tensor(numbers, dtype=torch.float64).detach() for numbers in (out, value))
    except (TypeError, ValueError, RuntimeError):
        return False  # these are no numbers
    return out.shape == value.shape and torch.allclose(out, value, rtol, atol)


def expect_tensor(out, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """An answer that must be a tensor of this shape and type."""
    if not isinstance(out, Tensor):
        raise Wrong(f"Your function returned a {type(out).__name__}; it must return a tensor.")
    if out.shape != shape:
        raise Wrong(f"The shape is {tuple(out.shape)}; expected {tuple(shape)}, the shape of the input.")
    if out.dtype != dtype:
        raise Wrong(f"The type is {out.dtype}; expected {dtype}.")
    return out


def expect_number(out) -> float:
    """An answer that must be one number."""
    try:
        return float(out.detach() if isinstance(out, Tensor) else out + 0)  # + 0, since a text is no number
    except (TypeError, ValueError, RuntimeError):
        raise Wrong(f"Your function returned {out!r}; return one number.") from None


def expect_unchanged(given: Tensor, before: Tensor, advice: str) -> None:
    """The answer must not write into its input."""
    if not torch.equal(given, before):
        raise Wrong(f"Your function changes its input: {advice}")
