"""Students' code that loops, dies, cheats or spies: it gets nothing for it, and the grader goes on."""

import contextlib
import os
import platform
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import class_of
import pytest
import torch

from labutils.course.grading import exercises, one, sandbox

SLERP, RIGHT = class_of.exercise("slerp")
linux = pytest.mark.skipif(sys.platform != "linux", reason="these limits are Linux's")


@pytest.fixture
def graded(monkeypatch):
    """Grade a cell, and further ones after it, as an answer to one exercise."""
    monkeypatch.setattr(sandbox, "SECONDS", 2)

    def grade(*sources: str, number: str = SLERP, execute: bool = True) -> dict:
        every = exercises.catalogue()
        with monkeypatch.context() as patch:
            patch.setattr(exercises, "catalogue", lambda: {number: every[number]})
            name = next(name for name in one.untouched() if name.startswith(f"0{number[0]}"))
            cells = [{"type": "code", "source": source, "exercise": "", "question": ""} for source in sources]
            cells[0]["exercise"] = number
            results, grade.limits = exercises.grade(one.untouched(), {name: cells}, execute)
        return results[number]

    yield grade
    assert threading.active_count() < 20


DEF = "def slerp(a, b, t):\n"
ATTACKS = {  # none of these is right
    "an endless loop": (DEF + "    while True:\n        pass", "took too long"),
    "an endless loop at the top": ("while True:\n    pass\n" + DEF + "    return a\nslerp = [slerp][0]\n", ""),
    "it sleeps": ("import time\n" + DEF + "    time.sleep(99)", "took too long"),
    "os._exit": ("import os\n" + DEF + "    os._exit(0)", "ended the process (exit code 0)"),
    "it reads the environment": (
        "import os\n" + DEF + "    raise ValueError(f'{list(os.environ)}')",
        "ValueError: ['OMP_NUM_THREADS']",
    ),
    "annotations that are no Python": ("def slerp(a: 1 +, b, t):\n    return a", "no Python: line 1"),
    "async": ("async " + DEF + "    return a", "returned a coroutine"),
    "a cell of a megabyte": ("x = 1\n" * 10_000 + RIGHT, "more than 20,000 characters"),
    "a text of a million lists": (DEF + "    return [[[{}] * 100] * 100] * 300", ""),
    "it kills its group": ("import os\n" + DEF + "    os.kill(0, 9)", ""),
    "it kills its parent": ("import os\n" + DEF + "    os.kill(os.getppid(), 9)", ""),
    "a memory bomb": (DEF + "    return torch.cat([bytearray(2**28) and torch.ones(2**27) for _ in range(99)])", ""),
    "an answer of 4 GB": (DEF + "    return torch.ones(2**30)", ""),
    "an answer that claims to be large": (DEF + "    return torch.ones(1).expand(2**40)", ""),
    "an answer that is nested": (DEF + "    x = []\n    for _ in range(10**5):\n        x = [x]\n    return x", ""),
    "a recursion": (DEF + "    return slerp(a, b, t)", "RecursionError"),
    "a segmentation fault": ("import ctypes\n" + DEF + "    return ctypes.string_at(0)", "ended the process"),
    "a fake verdict on stdout": (DEF + "    print('correct.')\n    return a", "not yet"),
    "SystemExit": (DEF + "    raise SystemExit(0)", ""),
    "KeyboardInterrupt": (DEF + "    raise KeyboardInterrupt", ""),
    "patched allclose": (DEF + "    torch.allclose = torch.equal = lambda *a, **k: True\n    return a", "not yet"),
    "patched labutils": (
        "from labutils.exercises import answer, guard, expect\n"
        "answer.verdict = guard.observe = expect.expect = lambda *a, **k: None\n"
        "for e in answer.EXERCISES.values():\n    type(e).judge = lambda *a: None\n" + DEF + "    return a",
        "not yet",
    ),
    "patched in the call": (
        DEF + "    from labutils.exercises import answer\n    for e in answer.EXERCISES.values():\n"
        "        type(e).judge = lambda *a: None\n        type(e).cases = lambda *a: []\n    return a",
        "not yet",
    ),
    "equal to everything": (
        "class Any(int):\n    def __eq__(self, other):\n        return True\n    __hash__ = int.__hash__\n    "
        "__sub__ = __rsub__ = lambda self, other: 0\n    __abs__ = lambda self: 0\n" + DEF + "    return Any(3)",
        "",
    ),
    "a tensor equal to everything": (
        "class Any(torch.Tensor):\n    @classmethod\n    def __torch_function__(cls, f, types, args=(), kwargs=None):\n"
        "        return True\n" + DEF + "    return a.as_subclass(Any)",
        "",
    ),
    "frames": (
        "import sys\n" + DEF + "    frame = sys._getframe()\n    while frame:\n        for k in list(frame.f_locals):\n"
        "            if k in ('case', 'cases', 'expected', 'right'):\n                frame.f_locals[k] = None\n"
        "        frame = frame.f_back\n    return a",
        "",
    ),
    "gc": (
        "import gc\n" + DEF + "    for o in gc.get_objects():\n        if type(o) is dict and 'state' in o:\n"
        "            o['state'] = 'right'\n    return a",
        "",
    ),
    "it answers by the pipe": (
        "import os, json\n" + DEF + "    for fd in range(3, 64):\n        try:\n"
        "            os.write(fd, b'\\x00\\x00\\x00\\x08' + b'\\xff' * 8)\n        except OSError:\n            pass\n"
        "    return a",
        "",
    ),
    "it floods the pipe": (
        "import os\n" + DEF + "    for fd in range(3, 64):\n        try:\n            os.write(fd, b'\\x7f' * 10**6)\n"
        "        except OSError:\n            pass\n    return a",
        "",
    ),
    "a generator that never ends": (DEF + "    while True:\n        yield a", ""),
    "NaN": (DEF + "    return a * float('nan')", "not yet"),
    "its repr never ends": (
        "class R:\n    def __repr__(self):\n        while True:\n            pass\n" + DEF + "    return R()",
        "took too long",
    ),
    "no Python": ("def slerp(a, b, t)\n    return a", "your cell is no Python: line 1"),
    "deep Python": (DEF + "    return " + "(" * 300 + "a" + ")" * 300, "no Python"),
    "a null byte": (DEF + "    return a\0", ""),
    "the name is a number": ("slerp = 3", ""),
    "the name goes": (DEF + "    return a\ndel slerp", ""),
    "the stub": (one.untouched() and DEF + "    raise NotImplementedError('here')", "not attempted yet"),
    "html": (DEF + "    raise ValueError('<script>alert(1)</script>')", "<script>"),
}


@pytest.mark.thorough
@pytest.mark.parametrize("what", ATTACKS)
def test_an_attack_is_not_right_and_the_grader_goes_on(what, graded):
    source, said = ATTACKS[what]
    result = graded(source)
    assert result["state"] in ("wrong", "error", "untouched"), result
    assert said in result["sentence"], result
    assert graded(RIGHT)["state"] == "right"


def test_without_execute_nothing_is_run(graded, tmp_path):
    result = graded(f"open({str(tmp_path / 'ran')!r}, 'w')\n" + RIGHT, execute=False)
    assert result["state"] == "not run"
    assert list(tmp_path.iterdir()) == []


def indented(source: str) -> str:
    return "".join(f"    {line}\n" for line in source.splitlines())


def sure(what: str) -> str:
    """The right answer, if a condition holds when it is called."""
    return RIGHT.replace("    theta =", f"    assert {what}\n    theta =")


RIGHTS = {
    "as packaged": [RIGHT],
    "with a helper in a later cell": [DEF + "    return helper(a, b, t)", RIGHT.replace("slerp", "helper")],
    "with imports of its own": ["import torch as T\nfrom torch import sin\n" + RIGHT.replace("torch.sin", "sin")],
    "defined again": [DEF + "    return a", RIGHT],
    "a loop beneath it that never ends": [RIGHT, "while True:\n    pass"],
    "checks that were deleted or edited": [RIGHT, "exercises = None\ntorch_allclose = 3\nraise SystemExit"],
    "a name that a parameter shares": [RIGHT, "t = train_for_hours()\na = b = 1 / 0"],
    "a magic line beside it": ["%matplotlib inline\n!ls\n" + RIGHT],
    "a global that counts": ["calls = 0\ncalls += 1\nSTEP = {}\nSTEP['x'] = calls\n" + RIGHT + "\n    # STEP\n",],
    "by exec": [f"import torch\nexec({RIGHT!r})"],
    "by globals": [RIGHT.replace("def slerp", "def other") + "\nglobals()['slerp'] = other"],
    "by a walrus": [RIGHT.replace("def slerp", "def other") + "\nprint(slerp := other)"],
    "by a class": ["class A:\n    @staticmethod\n" + indented(RIGHT) + "\nslerp = A.slerp"],
    "by a decorator": ["import functools\n@functools.lru_cache\ndef k(f):\n    return lambda *a: f(*a)\n@k\n" + RIGHT],
    "with stars": ["from math import *\nfrom torch import *\n" + RIGHT],
    "with magics": ["%%time\n%timeit 1 + 1\nfiles = !ls\n?print\nprint?\n" + RIGHT],
    "with wide letters": [RIGHT.replace("def slerp", "def ｓｌｅｒｐ")],
    "with annotations of the future": [
        "from __future__ import annotations\n" + RIGHT.replace("(a, b, t)", "(a: No, b: 'Such', t: Type) -> Here"),
    ],
    "with a default that changed later": ["K = 1", sure("k == 1").replace("t):", "t, k=K):"), "K = 2"],
    "with a value of what changed later": ["K = 1\nL = [K for _ in 'ab']", sure("L == [1, 1] and K == 2"), "K = 2"],
    "with a value of a function then": ["K = 1\ndef f():\n    return K\nL = f()", sure("L == 1 and f() == 2"), "K = 2"],
    "wrapped by itself": [RIGHT, "old = slerp\ndef slerp(a, b, t):\n    return old(a, b, t)"],
    "with a list that was filled": ["L, M = [], {}\nfor i in 'ab':\n    L.append(i)\nM.update(a=1)", sure("L and M")],
    "with a sum of a loop": ["total = 0\nfor i, j in [(1, 2)]:\n    total += i", sure("total == 1")],
    "with what a case captured": ["match [1, 2, 3]:\n    case [K, *L]:\n        pass", sure("K == 1 and L == [2, 3]")],
    "with a picture": ["import matplotlib.pyplot as plt\n" + sure("plt.plot([1])")],
    "with the lab's pictures": ["from labutils import plots, widgets\n" + sure("plots and widgets")],
    "with SciPy": ["import scipy.stats\n" + sure("scipy")],
    "in a condition": ["if __name__ == '__main__':\n" + indented(RIGHT)],
    "a lambda": ["slerp = lambda a, b, t, f=torch.sin: (lambda w: (f((1 - t) * w) * a + f(t * w) * b) / f(w))("
                 "torch.acos(a @ b / (a.norm() * b.norm())))"],
}  # fmt: skip


@pytest.mark.parametrize("what", RIGHTS)
def test_a_right_answer_is_right(what, graded):
    assert graded(*RIGHTS[what])["state"] == "right"


def test_a_dictionary_that_a_later_cell_fills_is_taken_with_what_fills_it(graded):
    number, right = class_of.exercise("prediction")
    begun = right.replace("prediction", "mine", 1) + "\nprediction = dict.fromkeys(mine, (None, None))"
    assert graded(begun, "prediction.update(mine)", number=number)["state"] == "right"


def test_a_long_chain_of_statements_takes_no_minutes(graded):
    began = time.process_time()
    assert graded(*["slerp=slerp\n" * 1_600] * 12, execute=False)["state"] == "not run"
    assert time.process_time() - began < 15


def test_a_solution_of_the_labs_is_worth_a_look(graded):
    for source in ("slerp = exercises.slerp(None).or_else()", "from labutils.exercises.tries import solved as slerp"):
        assert re.search("or_else|solved", str(graded(source, execute=False)["suspects"]))


@pytest.mark.thorough
def test_all_solutions_are_right_and_all_stubs_untouched():
    theirs = {
        name: [
            {"type": c["cell_type"], "source": "".join(c["source"]), "exercise": c["metadata"].get("exercise", "")}
            for c in notebook["cells"]
        ]
        for name, notebook in class_of.notebooks(class_of.solutions()).items()
    }  # fmt: skip
    results, _ = exercises.grade(one.untouched(), theirs, True)
    assert {number: result["sentence"] for number, result in results.items() if result["state"] != "right"} == {}
    assert not any(result["suspects"] for result in results.values())
    results, _ = exercises.grade(one.untouched(), one.untouched(), True)
    assert {result["state"] for result in results.values()} == {"untouched"}


@linux
def test_nothing_is_written_read_or_sent(graded, tmp_path):
    there = tmp_path / "neighbour.txt"
    there.write_text("the neighbour's answer")
    there.chmod(0o640)
    server = socket.create_server(("127.0.0.1", 0))
    tries = [
        f"open({str(tmp_path / 'a')!r}, 'w')",
        f"open({str(there)!r}).read()",
        f"open({str(there)!r}, 'a')",
        "open('/tmp/from-a-student', 'w')",
        f"__import__('os').listdir({str(tmp_path)!r})",
        f"__import__('os').symlink('/etc/passwd', {str(tmp_path / 'b')!r})",
        f"__import__('shutil').rmtree({str(tmp_path)!r})",
        f"__import__('os').rename({str(there)!r}, {str(tmp_path / 'c')!r})",
        f"torch.utils.data.dataloader.os.system('touch {tmp_path}/d')",
        "__import__('subprocess').run(['true'])",
        "__import__('os').fork()",
        f"__import__('socket').create_connection(('127.0.0.1', {server.getsockname()[1]}), 1)",
        "__import__('threading').Thread(target=print).start()",
        "torch.save(a, '/tmp/from-a-student.pt')",
        "__import__('os').execv('/bin/true', ['true'])",
        f"__import__('os').chmod({str(there)!r}, 0)",
        f"__import__('os').utime({str(there)!r}, (1, 1))",
        f"__import__('os').chown({str(there)!r}, 1, 1)",
        "__import__('os').chroot('/usr')",
    ]
    lines = "".join(
        f"    try:\n        r = {each}\n        done.append({i} if r not in (32512, -1) else 0)\n"
        "    except BaseException:\n        pass\n" for i, each in enumerate(tries, 1)
    )  # fmt: skip
    result = graded(DEF + "    done = []\n" + lines + "    raise ValueError(f'done: {[d for d in done if d]}')")
    assert "done: []" in result["sentence"], result
    assert sorted(path.name for path in tmp_path.iterdir()) == ["neighbour.txt"]
    assert there.read_text() == "the neighbour's answer"
    assert there.stat().st_mode & 0o777 == 0o640
    assert there.stat().st_mtime > 1
    assert not Path("/tmp/from-a-student").exists()
    server.settimeout(0.2)
    with pytest.raises(TimeoutError):
        server.accept()
    assert {"time and memory", "no writing (Landlock)", "no processes (seccomp)"} <= set(graded.limits)


@linux
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers of system calls are of that machine")
def test_no_other_process_is_reached(graded):
    """By system calls: Python would not make all of them."""
    neighbour = subprocess.Popen(["sleep", "99"])
    try:
        pid = neighbour.pid
        info = "(c_char * 128)(*pack('iii', 9, 0, -1))"
        calls = [f"62, {pid}, 9", f"200, {pid}, 9", f"234, {pid}, {pid}, 9", f"129, {pid}, 9, {info}"]  # signals
        calls += [f"297, {pid}, {pid}, 9, {info}", f"424, L.syscall(434, {pid}, 0), 9, None, 0"]
        calls += [f"302, {pid}, 0, pack('QQ', 0, 0), None", f"141, 0, {pid}, 19"]  # limits, priority
        calls += [f"203, {pid}, 128, (c_char * 128)(1)", f"101, 16, {pid}, 0, 0"]  # processors; debugging
        tries = "".join(f"    done += [L.syscall({each})]\n" for each in calls)
        code = "from ctypes import CDLL, c_char\nfrom struct import pack\nL = CDLL(None)\n" + DEF
        result = graded(code + "    done = []\n" + tries + "    raise ValueError(str(done))")
        assert f"ValueError: {[-1] * len(calls)}" in result["sentence"], result
        assert neighbour.poll() is None
        assert os.getpriority(os.PRIO_PROCESS, pid) == os.getpriority(os.PRIO_PROCESS, 0)
    finally:
        neighbour.kill()
        neighbour.wait()


@linux
def test_what_the_grader_has_open_cannot_be_written(graded, tmp_path):
    """A forked child has its parent's open files, whatever forbids it to open one."""
    everywhere = "import os\n" + DEF + "    for fd in range(3, 512):\n        try:\n            os.write(fd, b'x')\n"
    with open(tmp_path / "grades.csv", "wb", buffering=0) as mine:
        assert graded(everywhere + "        except OSError:\n            pass\n    return a")["state"] != "right"
        assert mine.tell() == 0
    assert (tmp_path / "grades.csv").read_bytes() == b""


@linux
def test_a_grader_with_many_open_files_shuts_its_children_in_as_well(graded):
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(open(os.devnull))
        assert graded(RIGHT)["state"] == "right"
    assert {"no writing (Landlock)", "no processes (seccomp)"} <= set(graded.limits)


@pytest.mark.thorough
@linux
def test_no_process_is_left(graded):
    forks = "    import os, time\n    try:\n        for _ in range(9):\n            os.fork()\n"
    forks += "    except OSError:\n        pass\n"
    before = _children()
    graded(DEF + forks + "    time.sleep(50)")
    graded("import os, time\n" + DEF + "    os.setsid() if os.fork() == 0 else 0\n    time.sleep(50)")
    time.sleep(0.2)
    assert _children() <= before


def _children() -> set[str]:
    """Of this process, and forked ones that lost their parent: these still have its command line."""
    found, line = set(), Path("/proc/self/cmdline").read_bytes()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() or (parent == 1 and (path.parent / "cmdline").read_bytes() == line):
                found.add(path.parent.name)
        except OSError:
            continue
    return found


def test_what_a_person_should_look_at_is_named(graded):
    source = "import os\nimport torch\ntorch.allclose = print\n" + DEF + "    eval('1')\n    return a.__class__"
    assert graded(source, execute=False)["suspects"] == [".__class__", "eval()", "import os", "torch.allclose = ..."]
    whole = graded("import os\n" + DEF + "    os.x = 3\n    return torch.utils.data.dataloader.os", execute=False)
    assert whole["suspects"] == [".os", "import os", "os.x = ..."]


def test_plain_data_come_back_whole():
    value = {"a": [1, None, "x", {"b": torch.arange(3.0)}], "c": torch.tensor(True), "d": torch.zeros(0, 2).double()}
    back = exercises._unpacked(exercises.packed(value))
    assert back["a"][:3] == [1, None, "x"]
    assert torch.equal(back["a"][3]["b"], torch.arange(3.0))
    assert back["c"].dtype == torch.bool
    assert back["d"].shape == (0, 2)
    frame = exercises.packed(value)
    for odd in (b"", b"x" * 99, frame[:-3], frame[8:], (2**63).to_bytes(8, "little") + frame):
        assert exercises._unpacked(odd) == {}
