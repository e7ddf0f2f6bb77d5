"""`python -m labutils study`: its first line comes at once, and whatever stands in its way is said in one."""

import contextlib
import http.server
import os
import re
import socket
import subprocess
import sys
import threading
import time

import pytest
import small_study
from small_study import ROWS
from test_plan import study_command

from labutils.runs import RunError
from labutils.study import Study, run_study, scheduler
from labutils.study.scheduler import why_not

SCRIPT = """
import sys

sys.path += {path}
import small_study
from labutils.study import Study, run_study

small_study.install()
print("begun", flush=True)
run_study(Study(small_study.ROWS[1:], 64), sys.argv[1], workers=1, score=small_study.cheap)
"""


def called(*arguments, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "labutils", "study", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)


def test_the_first_line_comes_before_pytorch_is_imported(tmp_path):
    """Importing it is what takes seconds."""
    code = (
        "import sys, builtins\n"
        "from labutils.course import cli\n"
        "def show(*words, **options):\n"
        "    sys.stderr.write(f'{words[0]} torch: {\"torch\" in sys.modules}')\n"
        "    sys.exit(0)\n"
        "builtins.print = show\n"
        f"cli.main(['study', '--plan', '--folder', {str(tmp_path)!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.startswith("Counting the runs that are finished")
    assert done.stderr.endswith("torch: False")


def test_the_number_of_runs_is_said_before_anything_is_timed(tmp_path, monkeypatch, capsys, few):
    from labutils.study import plan

    def timed(*arguments):
        raise RunError(f"timed after: {capsys.readouterr().out}")

    monkeypatch.setattr(plan, "_epoch_seconds", timed)
    (tmp_path / "s.toml").write_text("[rows.A]\nepochs = 1\n")
    assert study_command(tmp_path / "s.toml", "--plan", "--folder", tmp_path / "none") == 2
    assert "5 runs, of which 0 are finished in" in capsys.readouterr().err


def test_a_plan_says_where_bfloat16_is_not_to_be_had(tmp_path, monkeypatch):
    from test_plan import half_hours, said

    from labutils.study import Entry, one_run

    half_hours(monkeypatch)
    monkeypatch.setattr(one_run, "choose_precision", lambda *_: ("float32", "none"))
    asked = Entry("A", small_study.tiny.config(images=48, precision="bfloat16"), seeds=2)
    told = said(Study((asked, ROWS[1])), tmp_path).splitlines()
    assert told[1] == "There is no bfloat16 arithmetic here: 2 runs that ask for it are trained in float32."


# What stands in its way


def test_a_folder_that_cannot_be_written_is_found_first(tmp_path, capsys):
    (tmp_path / "file").touch()
    (tmp_path / "s.toml").write_text("[rows.A]\nepochs = 1\n")
    for arguments in (["--plan"], []):
        assert study_command(tmp_path / "s.toml", "--folder", tmp_path / "file" / "study", *arguments) == 2
        told = capsys.readouterr()
        assert told.err.startswith(f"Cannot write {tmp_path / 'file' / 'study'}: a file stands where a folder should")
        assert "runs, of which" not in told.out
    with pytest.raises(RunError, match="a file stands where a folder should"):
        run_study(Study(ROWS), tmp_path / "file" / "study")


def test_a_home_folder_of_nobody(capsys):
    for option in ("--folder", "--ship"):
        assert study_command(option, "~nouser/x", "--plan") == 2
        assert "~nouser/x: nobody here has that home folder. Write the whole path." in capsys.readouterr().err
    done = called("--table", env=os.environ | {"LABUTILS_RUNS": "~nouser/x"})
    assert (done.returncode, done.stdout) == (2, "")
    assert "LABUTILS_RUNS is ~nouser/x: nobody here has that home folder." in done.stderr


@pytest.mark.thorough
def test_a_script_without_a_main_guard_is_told(tmp_path):
    """With one, as killing.py has it, test_workers.py starts a study in a script."""
    (tmp_path / "script.py").write_text(SCRIPT.format(path=[folder for folder in sys.path if "tests" in folder]))
    command = [sys.executable, tmp_path / "script.py", tmp_path / "study"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert not (tmp_path / "study" / "breaks" / "seed=0").exists()
    assert done.returncode == 1
    assert 'below a line `if __name__ == "__main__":`' in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.thorough
def test_a_script_that_is_no_file_is_told(tmp_path):
    text = SCRIPT.format(path=[folder for folder in sys.path if "tests" in folder])
    done = subprocess.run([sys.executable, "-", tmp_path], input=text, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert done.stderr.endswith("and <stdin> is no file. Save it as one.\n")


# Addresses of schedulers


@contextlib.contextmanager
def listener(say: bytes = b""):
    """The port of what accepts connections, says something to each and waits."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held = []

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    held.append(server.accept()[0])
                    held[-1].sendall(say)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        for connection in held:
            connection.close()


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(scheduler, "SECONDS", 0.3)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("", "'' is not the address of a scheduler; expected one such as tcp://host:8786."),
        ("host", "'host' is not the address"),
        ("8786", "'8786' is not the address"),
        ("tcp://host", "is not the address"),
        ("tcp://host:0", "is not the address"),
        ("tcp://host:99999", "is not the address"),
        ("tcp://a b:8786", "is not the address"),
        ("tcp://host:8786/status", "is not the address"),
        ("tls://host:8786", "this lab speaks tcp only. Start `dask scheduler` without tls: tcp://host:8786."),
        ("ucx://host:8786", "this lab speaks tcp only"),
        ("http://host:8787", "this lab speaks tcp only"),
        ("tcp://" + "a" * 300 + ":8786", "No Dask scheduler answers at tcp://aaa"),
        ("tcp://..:8786", "No Dask scheduler answers at tcp://..:8786 ("),
    ],
)
def test_what_is_no_address_is_said_without_a_connection(address, why, impatient, tmp_path):
    assert why in why_not(address)
    with pytest.raises(RunError, match=re.escape(why)):
        run_study(Study(ROWS), tmp_path, scheduler=address)


@pytest.mark.parametrize("say", [b"", b"SSH-2.0-OpenSSH_9.6\r\n", b"x" * 5000])
def test_what_listens_and_is_no_scheduler(say, impatient):
    with listener(say) as port:
        assert "8787 is the dashboard's port; the scheduler's is 8786" in why_not(f"tcp://127.0.0.1:{port}")


@pytest.mark.thorough
def test_an_http_listener_is_told_apart_and_named_by_the_command(tmp_path, capsys):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    started = time.monotonic()
    assert study_command("--scheduler", f"tcp://127.0.0.1:{server.server_port}", "--folder", tmp_path) == 2
    assert time.monotonic() - started < 15
    assert "8787 is the dashboard's port; the scheduler's is 8786" in capsys.readouterr().err
    server.shutdown()
    server.server_close()


def test_nobody_listens(impatient):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert why_not(f"127.0.0.1:{port}").endswith("refused). Start one: dask scheduler.")
