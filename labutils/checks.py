"""Checks of the notebooks' exercises: each says what is wrong with an answer, not only that it is wrong."""

import functools
from collections.abc import Callable


class Wrong(Exception):
    """An answer is not right yet; the message says in which way."""


def exercise(number: str) -> Callable:
    """Make a check of exercise `number`: the decorated function takes the student's answer and raises Wrong(sentence).

    The check prints one sentence and returns whether the answer is right; it never raises.
    """

    def decorate(body: Callable) -> Callable:
        @functools.wraps(body)
        def check(*answer) -> bool:
            try:
                body(*answer)
            except NotImplementedError:
                print(f"Exercise {number}: not attempted yet.")
            except Wrong as wrong:
                print(f"Exercise {number}: not yet. {wrong}")
            except Exception as error:
                print(f"Exercise {number}: your code raised {type(error).__name__}: {error}")
            else:
                print(f"Exercise {number}: correct.")
                return True
            return False

        return check

    return decorate
