"""The checks of the notebooks' exercises: each says what is wrong with an answer, not only that it is wrong.

`exercises.slerp(answer)` checks, `exercises.hint("5.2")` helps, `exercises.progress()` draws what is solved. How a
check is made, and how a grader takes one apart, stands in `labutils.exercises.answer`.
"""

from labutils.exercises import data, dcgan, graphs, models, recipe, stable_gans, steps, theory, training  # noqa: F401  they fill EXERCISES
from labutils.exercises.answer import EXERCISES, Result, observe, verdict
from labutils.exercises.tries import hint, progress, solution, states

for _number in sorted(EXERCISES, key=lambda number: [*map(int, number.split("."))]):  # in the order of the notebooks
    EXERCISES[_number] = EXERCISES.pop(_number)
globals().update({exercise.name: exercise for exercise in EXERCISES.values()})  # exercises.slerp, and so on

__all__ = ["EXERCISES", "Result", "hint", "observe", "progress", "solution", "states", "verdict"]
__all__ += [exercise.name for exercise in EXERCISES.values()]
