"""What an exercise sees of a student's code: what it changes, what it raises and where, and nothing but plain data."""

import json
import math
import os
import random

import numpy as np
import pytest
import torch
from torch import nn

from labutils.exercises import EXERCISES, observe, verdict
from labutils.exercises.answer import Exercise
from labutils.exercises.guard import plain
from labutils.exercises.tries import texts

BCE = nn.functional.binary_cross_entropy_with_logits  # notebook 05 has it by the name bce_of_logits


class Probe(Exercise, number=""):
    """answer(x (3,), network) -> x doubled."""

    def cases(self):
        return [{"x": torch.arange(3.0)}]

    def perform(self, answer, case):
        network = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
        return {"out": answer(case["x"], network)}

    def judge(self, case, seen):
        assert torch.equal(seen["out"], 2 * case["x"])


def checked(answer, **settings):
    probe = Probe()
    for name, value in settings.items():
        setattr(probe, name, value)
    return probe._checked((answer,))


def doing(*actions):
    """An answer that is right, and does something else before."""

    def answer(x, network):
        for action in actions:
            action(x, network)
        return 2 * x.detach().clone() if not torch.equal(x, torch.ones(3)) else torch.arange(3.0) * 2

    return answer


CHANGES = {
    "values": (lambda x, network: x.data.__setitem__(0, 0.5), "changes x, which belongs to the caller"),
    "weights": (lambda x, network: network[0].weight.data.zero_(), "changes network, which belongs to the caller"),
    "buffers": (lambda x, network: network(torch.randn(4, 3)), "changes network, which belongs"),
    "requires_grad": (lambda x, network: network[0].weight.requires_grad_(False), "changes requires_grad of network"),
    "of x": (lambda x, network: x.requires_grad_(), "changes requires_grad of x"),
    "gradients": (lambda x, network: network[0](x).sum().backward(), "the gradients that network holds"),
    "modes": (lambda x, network: network[1].eval(), "changes the mode (train or eval) of network"),
    "grad mode": (lambda x, network: torch.set_grad_enabled(False), "leaves gradients switched on or off"),
    "dtype": (lambda x, network: torch.set_default_dtype(torch.float64), "changes torch's default type or threads"),
    "random": (lambda x, network: torch.rand(1), "draws random numbers"),
    "numpy's": (lambda x, network: np.random.rand(), "draws random numbers"),  # noqa: NPY002
    "Python's": (lambda x, network: random.random(), "draws random numbers"),
    "seed": (lambda x, network: torch.manual_seed(3), "sets the random seed"),
    "folder": (lambda x, network: os.chdir(os.path.sep), "or the folder, for all later cells"),
    "threads": (lambda x, network: torch.set_num_threads(7), "default type or threads"),
    "anomaly": (lambda x, network: torch.autograd.set_detect_anomaly(True), "anomaly mode, or the folder"),
    "torch": (lambda x, network: setattr(torch, "sort", lambda x: x), "puts another sort in torch's place"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_an_answer_changes_is_said_and_taken_back(change):
    action, sentence = CHANGES[change]
    shared = torch.sort, torch.get_num_threads(), os.getcwd()
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    result = checked(doing(action))
    assert result.state == "wrong"
    assert sentence in result.sentence
    assert torch.is_grad_enabled()
    assert not torch.is_anomaly_enabled()
    assert torch.get_default_dtype() == torch.float32
    assert (torch.sort, torch.get_num_threads(), os.getcwd()) == shared
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert (np.random.get_state()[1] == before[2]).all()  # noqa: NPY002


def test_what_an_exercise_allows_may_change():
    draws = doing(lambda x, network: torch.rand(1))
    assert checked(draws, may_change=frozenset({"random"}))
    assert not checked(doing(lambda x, network: torch.manual_seed(3)), may_change=frozenset({"random"}))


def solution(number) -> tuple:
    about, scope = texts(number), {"torch": torch, "nn": nn, "math": math, "bce_of_logits": BCE}
    exec(about["solution"], scope)
    names = about["answer"]
    return tuple(scope[name] for name in ([names] if isinstance(names, str) else names))


@pytest.mark.parametrize("number", [n for n in EXERCISES if n != "4.4"])
def test_a_check_under_no_grad_is_the_same_and_leaves_the_random_state(number):
    before = torch.get_rng_state()
    with torch.no_grad():
        assert EXERCISES[number](*solution(number))
        assert not torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), before)


def test_no_text_is_made_of_what_is_plain(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "__repr__", None)  # of many images it would take minutes
    assert len(plain([[torch.ones(2)] * 3, (torch.zeros(1),)])) == 2


def inner(x):
    return x["a place that is not there"]


def outer(x, network):
    y = x + 1
    return inner(y)


def test_an_error_shows_the_students_own_lines_innermost_first():
    result = checked(outer)
    assert result.state == "error"
    assert result.sentence.startswith("your code raised IndexError: ")
    assert 'in inner: `return x["a place that is not there"]` -- called from' in result.sentence
    assert "in outer: `return inner(y)`" in result.sentence


def test_an_error_in_torch_shows_the_students_line_not_torchs():
    result = checked(lambda x, network: network(torch.zeros(2, 7)))
    assert "your code raised RuntimeError: " in result.sentence  # with more or fewer words, by the version
    assert "mat1 and mat2" in result.sentence
    assert "network(torch.zeros(2, 7))" in result.sentence
    assert "linear.py" not in result.sentence


@pytest.mark.parametrize("answer", [lambda x, y: x, lambda: 1, torch.nn.Linear, 3, None, "text"])
def test_an_answer_that_cannot_be_called_so_did_not_raise(answer):
    result = EXERCISES["2.1"](answer)
    assert not result
    assert "your code raised" not in result.sentence


def test_an_error_within_the_check_is_not_the_students():
    result = checked(lambda x, network: "text")
    assert result.state == "wrong"
    assert "The check cannot judge what came back, {'out': 'text'}" in result.sentence


def test_half_done_is_not_untouched():
    def half(x, network):
        y = x * 2
        raise NotImplementedError("and now?", y)

    def stub(x, network):
        """As given."""
        raise NotImplementedError("write it here")

    class Stub(nn.Module):
        def __init__(self, x, network):
            super().__init__()
            raise NotImplementedError("make the layers here")

    def torchs(x, network):
        return torch.lerp(torch.tensor(1), torch.tensor(2), 0.5)

    assert [checked(answer).state for answer in (stub, Stub, half, torchs)] == [
        "untouched",
        "untouched",
        "wrong",
        "error",
    ]
    assert "A part still stops with NotImplementedError" in checked(half).sentence


def test_a_pair_of_which_one_is_written_is_not_untouched():
    def stub(logits):
        raise NotImplementedError("write it here")

    def written(logits):
        return (1 - torch.sigmoid(logits)).log().mean()

    losses = EXERCISES["1.1"]
    assert losses(stub, stub).state == "untouched"
    assert losses(written, stub).state == "wrong"


def stopped(x, network):
    raise KeyboardInterrupt  # as the square button does in a loop without an end


def without_end(x, network):
    return without_end(network, x)


class Unprintable(Exception):
    def __str__(self):
        return self.nothing


def raises_what_has_no_text(x, network):
    raise Unprintable


class NoAttribute:
    def __getattr__(self, name):
        raise ValueError(name)

    def __call__(self, x, network):
        return x


STRANGE = [
    raises_what_has_no_text,
    exit,
    lambda x, network: exit(3),
    lambda x, network: checked(None).no,
    stopped,
    without_end,
    torch,
    nn.Module,
]
STRANGE += [lambda x, network: input(), lambda x, network: torch.zeros(10**15), lambda x, network: (yield x)]


@pytest.mark.parametrize("answer", STRANGE)
def test_no_answer_ends_a_check(answer, monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    assert checked(answer).state in ("error", "wrong")


def test_no_answer_hinders_that_a_try_is_kept(capsys):
    assert EXERCISES["2.1"](raises_what_has_no_text).state == "error"
    assert EXERCISES["2.1"](NoAttribute()).state == "error"
    assert "your code raised Unprintable: <" in EXERCISES["2.1"](lambda x: raises_what_has_no_text(x, x)).sentence


def test_what_the_student_stops_is_said_with_the_line_where_it_was():
    line = f"you stopped it. test_guard.py, line {stopped.__code__.co_firstlineno + 1}, in stopped: `raise Keyboard"
    assert checked(stopped).sentence.startswith(line)


def over_a_pipe(value):
    """As a grader's child sends it: numbers and texts as JSON, tensors beside them."""
    tensors = []

    def packed(value):
        if isinstance(value, torch.Tensor):
            tensors.append(value.contiguous().numpy().tobytes())
            return {"tensor": len(tensors) - 1, "dtype": str(value.dtype)[6:], "shape": list(value.shape)}
        if isinstance(value, dict):
            return {key: packed(item) for key, item in value.items()}
        return [packed(item) for item in value] if isinstance(value, list) else value

    def unpacked(value):
        if isinstance(value, dict) and "tensor" in value:
            raw = bytearray(tensors[value["tensor"]])
            dtype = getattr(torch, value["dtype"])
            flat = torch.frombuffer(raw, dtype=dtype) if raw else torch.zeros(0, dtype=dtype)
            return flat.reshape(value["shape"])
        if isinstance(value, dict):
            return {key: unpacked(item) for key, item in value.items()}
        return [unpacked(item) for item in value] if isinstance(value, list) else value

    return unpacked(json.loads(json.dumps(packed(value))))


@pytest.mark.parametrize("number", list(EXERCISES))
def test_cases_and_what_is_seen_cross_a_pipe(number):
    exercise, results = EXERCISES[number], []
    answer = solution(number) if exercise.takes > 1 else solution(number)[0]
    for case in exercise.cases():
        seen = over_a_pipe(observe(exercise, answer, over_a_pipe(case)))
        results.append(verdict(exercise, case, seen))
    assert [(result.state, result.sentence) for result in results] == [("right", "correct.")] * len(results)


@pytest.mark.parametrize(
    "seen", [None, [], {}, {"error": None}, {"error": 3, "changed": []}, {"error": {}, "changed": []}]
)
@pytest.mark.parametrize("number", list(EXERCISES))
def test_a_verdict_never_raises_whatever_was_seen(number, seen):
    exercise = EXERCISES[number]
    for case in exercise.cases():
        assert not verdict(exercise, case, seen)


def test_plain_data_are_plain():
    class Strange:
        def __repr__(self):
            raise ValueError("no")

    recursive = []
    recursive.append(recursive)
    given = [np.int64(3), np.arange(2), nn.Parameter(torch.ones(2)), (1, 2), {1: {2}}, Strange(), recursive, "text"]
    out = plain(given)
    json.dumps([value for value in out if not isinstance(value, torch.Tensor)])
    assert out[0] == 3
    assert out[1]["kind"] == "ndarray"
    assert type(out[2]) is torch.Tensor
    assert not out[2].requires_grad
    assert out[3] == [1, 2]
    assert out[5] == {"kind": "Strange", "shown": "<Strange>"}


def test_or_else_gives_the_students_own_if_it_is_right(capsys):
    def mine(x):
        return x.float() / 127.5 - 1

    from labutils.data import scale

    normalise = EXERCISES["2.1"]
    assert normalise(mine).or_else(scale) is mine
    assert "goes on" not in capsys.readouterr().out
    assert normalise(lambda x: x).or_else(scale) is scale
    said = capsys.readouterr().out.splitlines()
    assert said[1:] == ["Exercise 2.1 is not solved yet: the notebook goes on with labutils.data.scale."]
    own = normalise(lambda x: x).or_else()
    assert torch.equal(own(torch.tensor([0, 255], dtype=torch.uint8)), torch.tensor([-1.0, 1.0]))
    assert capsys.readouterr().out.splitlines()[1].endswith("the notebook goes on with the lab's own.")
