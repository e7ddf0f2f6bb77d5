"""Each check accepts different right answers, rejects every wrong one with its own sentence, and never raises."""

import dataclasses
import inspect
import math
from collections import Counter

import pytest
import torch
from exercises.answers import data, dcgan, graphs, models, recipe, stable_gans, theory, training

from labutils import exercises
from labutils.exercises import EXERCISES, Result
from labutils.exercises.expect import Wrong, expect

ANSWERS = [theory, data, models, graphs, training, dcgan, stable_gans, recipe]
CASES = {number: case for module in ANSWERS for number, case in module.CASES.items()}
NEAR = {number: near for module in ANSWERS for number, near in module.NEAR.items()}
NAN = math.nan


def judge(number, answer) -> Result:
    return EXERCISES[number](*answer) if isinstance(answer, tuple) else EXERCISES[number](answer)


def test_every_exercise_is_found_by_its_number_and_by_its_name():
    counts = Counter(number.partition(".")[0] for number in EXERCISES)
    assert list(EXERCISES) == [f"{notebook}.{i}" for notebook, count in counts.items() for i in range(1, count + 1)]
    assert sorted(EXERCISES) == sorted(CASES)
    assert [check.number for check in EXERCISES.values()] == list(EXERCISES)
    assert all(getattr(exercises, check.name) is check and check.__doc__ for check in EXERCISES.values())
    assert {check.name for check in EXERCISES.values()} < set(exercises.__all__)


@pytest.mark.parametrize(("number", "answer"), [(n, answer) for n, (right, _) in CASES.items() for answer in right])
def test_a_right_answer_is_accepted(number, answer, capsys):
    assert judge(number, answer) == Result(number, "right", "correct.")
    assert capsys.readouterr().out == f"Exercise {number}: correct.\n"


@pytest.mark.parametrize(
    ("number", "wrong"),
    [
        *((n, wrong) for n, (_, all_) in CASES.items() for wrong in all_),
        *((n, near) for n, all_ in NEAR.items() for near in all_),
    ],
)
def test_a_wrong_answer_gets_its_own_sentence(number, wrong, capsys):
    answer, sentence = wrong
    result = judge(number, answer)
    is_error = any(part in sentence for part in ("raised", "cannot be called", "cannot be used"))
    assert result.state == ("error" if is_error else "wrong")
    assert sentence in result.sentence
    assert capsys.readouterr().out == f"Exercise {number}: {result.sentence}\n"


def test_a_loop_over_each_value_takes_seconds():
    assert 2 * sum(case["x"].numel() for case in EXERCISES["3.4"].cases()) < 50_000


@pytest.mark.parametrize("number", CASES)
def test_there_are_answers_enough(number):
    right, wrong = CASES[number]
    assert (len(right) >= 4, len(wrong) >= 6, len(NEAR[number]) >= 3) == (True, True, True)
    assert len({sentence for _, sentence in wrong}) >= 6, "each with its own message"


def spoiled(answer):
    """The same answer, but the last number that it returns, or writes into the first thing given, is NaN."""

    def spoil(out):
        if isinstance(out, tuple | list):
            return [*out[:-1], spoil(out[-1])]
        if not isinstance(out, torch.Tensor) or not out.is_floating_point():
            return NAN
        poison = torch.zeros(out.shape)
        poison.view(-1)[-1] = NAN
        return out + poison

    def spoiling(*given):
        out = answer(*given)
        if out is None:
            list(given[0].parameters())[-1].data[-1] = NAN
        return spoil(list(out) if inspect.isgenerator(out) else out)

    return spoiling


def spoiled_answers():
    for number, (right, _) in CASES.items():
        for parts in (answer if isinstance(answer, tuple) else (answer,) for answer in right):
            for i in (i for i, part in enumerate(parts) if callable(part)):
                yield number, (*parts[:i], spoiled(parts[i]), *parts[i + 1 :])


@pytest.mark.parametrize(("number", "answer"), list(spoiled_answers()))
def test_a_right_answer_with_one_nan_is_wrong(number, answer):
    assert judge(number, answer).state == "wrong"


def raising(error):
    def answer(*given):
        raise error

    return answer


ODD = [None, 5, "text", "3.2", NAN, {}, [NAN], torch.tensor(NAN), torch.zeros(0), torch.zeros(2, 3), object()]
ODD += [*(lambda *given, out=out: out for out in ODD), raising(ValueError("no")), raising(AttributeError("no"))]


@pytest.mark.thorough
@pytest.mark.parametrize("number", list(EXERCISES))
def test_no_check_raises_whatever_the_answer(number, capsys):
    many = EXERCISES[number].takes
    results = [EXERCISES[number](*answer) for answer in [(), (None,) * 4, *((odd,) * many for odd in ODD)]]
    assert {result.state for result in results} == {"wrong"} if number == "4.4" else {"wrong", "error"}
    assert len(capsys.readouterr().out.splitlines()) >= len(results)


@pytest.mark.parametrize("number", list(EXERCISES))
def test_a_stub_is_untouched(number, capsys):
    def stub(*given):
        """As a notebook gives it."""
        raise NotImplementedError("write it here")

    stub = dict.fromkeys(graphs.RECEIVE, (None, None)) if number == "4.4" else stub
    result = judge(number, (stub, stub) if EXERCISES[number].takes == 2 else stub)
    assert result == Result(number, "untouched", "not attempted yet.")
    assert capsys.readouterr().out == f"Exercise {number}: not attempted yet.\n"


def test_a_result_is_true_where_the_answer_is_right_and_short_to_see():
    results = [Result("5.2", state, "A long sentence.") for state in ("right", "wrong", "untouched", "error")]
    assert [bool(result) for result in results] == [True, False, False, False]
    assert repr(results[1]) == "<exercise 5.2: wrong>"
    with pytest.raises(dataclasses.FrozenInstanceError):
        results[0].state = "wrong"


MISTAKES = [(2.0, "doubled"), (1.0, "the right value here"), (torch.zeros(3), "zeros"), (NAN, "nan")]
WRONG = {"doubled": [2.0, torch.tensor(2.00005)], "zeros": [torch.zeros(3), [0, 0, 0]]}
WRONG["otherwise"] = [2.001, 1.001, NAN, torch.tensor(NAN), torch.tensor([0, 0, NAN]), [1.0], "1.0", None]


@pytest.mark.parametrize(("reason", "out"), [(reason, out) for reason, outs in WRONG.items() for out in outs])
def test_expect_names_the_mistake_that_gives_the_answer(reason, out):
    expect(1.00005, 1.0, MISTAKES, "otherwise")
    with pytest.raises(Wrong, match=rf"^{reason}$"):
        expect(out, 1.0, MISTAKES, "otherwise")


@pytest.mark.parametrize(
    ("out", "near", "reason"), [(2.01, 0, "other"), (2.01, 0.02, "doubled"), (1.01, 0.02, "other")]
)
def test_expect_recognises_a_mistake_from_as_far_as_it_is_told(out, near, reason):
    with pytest.raises(Wrong, match=reason):
        expect(out, 1.0, MISTAKES, "otherwise", near=near)


@pytest.mark.parametrize("value", [NAN, (NAN, 1.0), torch.tensor([1.0, NAN])])
def test_nan_is_right_nowhere(value):
    with pytest.raises(Wrong, match="otherwise"):
        expect(value, value, [(value, "a mistake")], "otherwise")
