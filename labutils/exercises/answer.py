"""An exercise and its result: cases and judge in one process, the student's code in this one or in another.

Whoever calls `exercises.slerp(answer)` in a notebook gets one printed sentence and a Result. Taken apart, as a grader
does it, with the student's code in a process of its own:

    exercise = EXERCISES["5.4"]                       # grader; in the child: the same line
    for case in exercise.cases():                     # grader: plain data, from the exercise's own random generator
        seen = observe(exercise, answer, case)        # child: runs exercise.perform beside the student's code
        result = verdict(exercise, case, seen)        # grader: a Result; it never raises, whatever `seen` holds

`case` and `seen` are dictionaries of numbers, texts, None, tensors, lists and dictionaries of them: nothing else
crosses. `seen` holds what `perform` returned, "changed" and "error" (see `guard.observe`). The first result that is not
right is that of the answer; `exercise.takes` says how many functions make one answer (above 1, a tuple of them).

To write one: a class named as the notebook calls it, `class slerp(Exercise, number="5.4")`, whose docstring says what
the answer takes and returns; `labutils.exercises.slerp` is its instance. Hints, solution: assets/exercises/NN.toml.
"""

from dataclasses import dataclass, field

import torch
from torch import nn

from labutils.exercises import tries
from labutils.exercises.expect import Untouched, Wrong, shown
from labutils.exercises.guard import observe

EXERCISES: dict[str, "Exercise"] = {}  # by number: EXERCISES["5.2"](answer) checks an answer to exercise 5.2

CHANGED = {  # aspect -> what is said of an answer that changes it
    "values": "Your function changes {name}, which belongs to the caller: build something new, or work on a copy.",
    "requires_grad": "Your function changes requires_grad of {name} and leaves it so: restore what it was.",
    "gradients": "Your function changes the gradients that {name} holds: torch.autograd.grad returns them instead.",
    "modes": "Your function changes the mode (train or eval) of {name} and leaves it so: restore the mode that it had.",
    "grad mode": "Your function leaves gradients switched on or off for all later cells: use `with torch.no_grad():`.",
    "settings": "This changes torch's default type or threads, anomaly mode, or the folder, for all later cells.",
    "replaced": "Your function puts another {name} in torch's place, for all later cells: give it a name of its own.",
    "random": "Your function draws random numbers, or sets a seed; here it must not: others' draws would change.",
    "seed": "Your function sets the random seed, which belongs to everybody: leave torch.manual_seed to the caller.",
}


@dataclass(frozen=True, repr=False)
class Result:
    """What a check found, true where the answer is right; `sentence` is what it printed after the exercise's number."""

    number: str
    state: str  # "right", "wrong", "untouched" (the stub as it was given) or "error" (the student's code raised)
    sentence: str
    answer: object = field(default=None, compare=False)

    def __bool__(self) -> bool:
        return self.state == "right"

    def __repr__(self) -> str:
        return f"<exercise {self.number}: {self.state}>"  # a notebook shows it beneath the sentence

    def or_else(self, packaged=None):
        """The student's answer if it is right, else `packaged`, and a line that says so; None: the lab's solution."""
        if self:
            return self.answer
        if packaged is None:
            print(f"Exercise {self.number} is not solved yet: the notebook goes on with the lab's own.")
            return tries.solved(self.number)
        several = packaged if isinstance(packaged, tuple) else (packaged,)
        names = " and ".join(f"{each.__module__}.{each.__qualname__}".removeprefix("__main__.") for each in several)
        print(f"Exercise {self.number} is not solved yet: the notebook goes on with {names}.")
        return packaged


class Exercise:
    """One exercise. Called with the student's answer, it prints one sentence and returns a Result; it never raises."""

    number: str
    takes = 1  # how many functions or classes make one answer
    data = False  # whether the answer is data, such as a dictionary of predictions, and no function
    of_class = False  # whether the answer is a class of networks
    may_change = frozenset()  # of CHANGED: what an answer may change; "random" where it is to draw
    advice = ()  # pairs (part of an error's message, what to do then)

    def __init_subclass__(cls, number: str):
        cls.number = number
        if number:  # else it is what several share
            EXERCISES[number] = cls()

    @property
    def name(self) -> str:
        """As a notebook calls it: `exercises.<name>`."""
        return type(self).__name__

    def cases(self) -> list[dict]:
        """What the answer is tried on, plain data; keys that begin with _ are for the judge alone."""
        raise NotImplementedError

    def perform(self, answer, case: dict) -> dict:
        """Call the answer, beside the student's code -> what the judge needs to see."""
        return {"out": answer(*(value for key, value in case.items() if not key.startswith("_")))}

    def judge(self, case: dict, seen: dict) -> None:
        """Raise Wrong unless `seen` is right for `case`; this never runs the student's code."""
        raise NotImplementedError

    def __call__(self, *answer) -> Result:
        result = self._checked(answer)
        print(f"Exercise {self.number}: {result.sentence}")
        tries.record(result, answer)
        return result

    def _checked(self, answer: tuple) -> Result:
        say = ""
        if len(answer) != self.takes:
            say = f"The check takes {self.takes} at once, as the notebook calls it; it got {len(answer)}."
        elif odd := [each for each in answer if not (self.data or callable(each))]:
            say = f"Hand the check your function itself; it got {shown(odd[0])}."
        elif self.of_class and isinstance(answer[0], nn.Module):
            say = f"Hand the check the class itself, {type(answer[0]).__name__}, with no brackets behind it."
        if say:
            return Result(self.number, "wrong", f"not yet. {say}")
        answer = answer if self.takes > 1 else answer[0]
        for case in self.cases():
            result = verdict(self, case, observe(self, answer, case))
            if not result:
                return result
        return Result(self.number, "right", "correct.", answer)


def verdict(exercise: Exercise, case: dict, seen: dict) -> Result:
    """The Result of one case, from what was seen of an answer; it never raises, whatever `seen` holds."""
    try:
        if seen["error"]:
            state, sentence = _of_error(seen["error"])
            sentence += "".join(f". {say}" for part, say in exercise.advice if part in seen["error"]["message"])
        else:
            for aspect, name in seen["changed"]:
                raise Wrong(CHANGED[aspect].format(name=name))
            with torch.random.fork_rng(devices=[]), torch.enable_grad():  # a judge may build networks
                exercise.judge(case, seen)
            state, sentence = "right", "correct."
    except Untouched:
        state, sentence = "untouched", "not attempted yet."
    except Wrong as wrong:
        state, sentence = "wrong", f"not yet. {wrong}"
    except Exception as error:
        if isinstance(seen, dict):
            seen = {key: value for key, value in seen.items() if key not in ("error", "changed")}
        state, why = "wrong", f"{type(error).__name__}: {error}"
        sentence = f"not yet. The check cannot judge what came back, {shown(seen)} ({why})."
    return Result(exercise.number, state, sentence)


def _of_error(error: dict) -> tuple[str, str]:
    what = f"{error['type']}: {error['message'].rstrip('.')}"
    where = " -- called from ".join(error["lines"])
    return {
        "stub": ("untouched", "not attempted yet."),
        "unfinished": ("wrong", f"not yet. A part still stops with NotImplementedError: {where}"),
        "stopped": ("error", f"you stopped it. {where}"),
        "theirs": ("error", f"your code raised {what}. {where}".rstrip()),
        "call": ("error", f"your function cannot be called as its docstring says ({what})."),
        "use": ("error", f"what your function returned cannot be used as its docstring says ({what})."),
        "check": ("wrong", f"not yet. The check cannot use what your function returned ({what})."),
    }[error["kind"]]
