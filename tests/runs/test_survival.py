"""What people do to a run while it is written, or have done to it before: nothing foreign is touched, nothing hangs."""

import os
import shutil
import threading
import time
from pathlib import Path

import pytest
import tiny
import torch

from labutils import runs
from labutils.engine import files, machine
from labutils.engine.machine import numerics
from labutils.runs import RunError, load_run, read_json, read_tensors, write_json, write_tensors
from labutils.training import train

pytestmark = pytest.mark.usefixtures("tiny_networks")


def run(folder, on_epoch=None, resume=False, **changes):
    images = tiny.images()
    return train(tiny.config(**changes), folder, images=images, resume=resume, on_epoch=on_epoch, progress=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_networks) -> Path:
    return run(tmp_path_factory.mktemp("finished") / "run").folder


# A caller's own function


def draws(run):
    torch.randn(1000)


def seeds(run):
    torch.manual_seed(run.epochs)


def forgets_gradients(run):
    torch.set_grad_enabled(False)


def spoils_the_history(run):
    run.history.clear()
    run.config["train"]["epochs"] = 1


def sets_everything(run):
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(2)
    torch.set_flush_denormal(False)
    torch.set_default_device("meta")


@pytest.mark.parametrize("meddles", [draws, seeds, forgets_gradients, spoils_the_history, sets_everything])
def test_a_caller_s_function_changes_nothing_of_the_training(meddles, finished, tmp_path):
    threads = torch.get_num_threads()
    try:
        run(tmp_path / "run", on_epoch=meddles)
        assert tiny.fingerprint(tmp_path / "run") == tiny.fingerprint(finished)
        assert torch.get_default_dtype() == torch.float32
        assert torch.get_default_device().type == "cpu"
        assert torch.is_grad_enabled()
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
        torch.set_grad_enabled(True)
        torch.set_num_threads(threads)


CALLERS = {
    "gradients switched off": lambda: torch.set_grad_enabled(False),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "another autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "another default device": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("caller", CALLERS)
def test_what_the_caller_has_set_changes_nothing_of_the_training(caller, precision, tmp_path):
    images, config = tiny.images(), tiny.config(precision=precision, loss="lsgan")
    train(config, tmp_path / "plain", images=images, progress=False)
    with CALLERS[caller]():
        train(config, tmp_path / "within", images=images, progress=False)
    assert tiny.fingerprint(tmp_path / "within") == tiny.fingerprint(tmp_path / "plain")


def test_copies_of_the_weights_do_not_outlive_a_step(tmp_path):
    """Within an autocast of the caller's PyTorch keeps them, and a network would be trained on its old weights."""
    config = tiny.config(precision="bfloat16", lr=0.05)
    train(config, tmp_path / "plain", images=tiny.images(), progress=False)
    with torch.autocast("cpu", torch.bfloat16):
        train(config, tmp_path / "within", images=tiny.images(), progress=False)
    assert tiny.fingerprint(tmp_path / "within") == tiny.fingerprint(tmp_path / "plain")


def test_another_default_type_changes_nothing_of_the_training(finished, tmp_path):
    torch.set_default_dtype(torch.float64)
    try:
        train(tiny.config(), tmp_path / "run", images=tiny.images().float(), progress=False)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    made, whole = (load_run(folder) for folder in (tmp_path / "run", finished))
    assert made.generator().layers[0].weight.dtype == whole.generator().layers[0].weight.dtype == torch.float32


def test_a_second_thread_of_the_process_is_refused(tmp_path):
    said = []

    def second(_):
        def body():
            try:
                run(tmp_path / "second")
            except RunError as error:
                said.append(str(error))

        thread = threading.Thread(target=body)
        thread.start()
        thread.join()

    run(tmp_path / "first", on_epoch=second, epochs=1)
    assert "Another thread of this process" in said[0]
    assert run(tmp_path / "second").epochs == 3  # and is free afterwards


# A run's folder


def deleted(folder):
    shutil.rmtree(folder)


def renamed(folder):
    folder.rename(folder.with_name("elsewhere"))


def unlocked(folder):
    (folder / ".lock").unlink()


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps the files of a running program")
@pytest.mark.parametrize("change", [deleted, renamed, unlocked])
@pytest.mark.parametrize("begun_anew", [False, True])
def test_a_run_that_is_taken_away_stops_and_two_never_write_one_folder(change, begun_anew, tmp_path):
    folder = tmp_path / "run"

    def meddle(current):
        if current.epochs == 1:
            change(folder)
            if begun_anew and change is not unlocked:
                run(folder, seed=1)

    with pytest.raises(RunError, match="was deleted, renamed or begun anew by somebody else while this training"):
        run(folder, on_epoch=meddle)
    if begun_anew and change is not unlocked:
        kept = load_run(folder)
        assert (kept.config["train"]["seed"], kept.epochs) == (1, 3)
        assert {read_tensors(folder / name)[1]["config"]["train"]["seed"] for name in runs.checkpoint.STATES} == {1}
    elif change is renamed:
        assert load_run(tmp_path / "elsewhere").epochs == 1


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
@pytest.mark.parametrize("name", [".config.json.new", ".lock", ".state_even.safetensors.new", ".history.csv.new"])
def test_a_link_in_somebody_s_archive_is_never_written_through(name, finished, tmp_path):
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    treasure = tmp_path / "treasure"
    treasure.write_text("mine")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(treasure)
    if name == ".lock":
        with pytest.raises(RunError, match=r"\.lock is a link to .*treasure"):
            run(folder, resume=True, epochs=4)
    else:
        assert run(folder, resume=True, epochs=4).epochs == 4
    assert treasure.read_text() == "mine"


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_samples_are_not_written_through_a_linked_folder(finished, tmp_path):
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    shutil.rmtree(folder / "samples")
    (tmp_path / "treasure").mkdir()
    (folder / "samples").symlink_to(tmp_path / "treasure")
    with pytest.raises(RunError, match="samples is a link to"):
        run(folder, resume=True, epochs=4)
    assert list((tmp_path / "treasure").iterdir()) == []


FILES = ["config.json", "history.csv", "generator.safetensors", "samples/epoch_0003.png", "state_odd.safetensors"]


def read_all(folder):
    loaded = load_run(folder)
    loaded.generator()
    loaded.grid(3)
    run(folder, resume=True, epochs=4)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "huge"])
def test_what_is_no_ordinary_file_is_named_and_never_opened(kind, name, finished, tmp_path):
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    path = folder / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        with path.open("wb") as file:
            file.truncate(200 * 2**30)  # a hole: it takes no space
    start = time.monotonic()
    if name == "state_odd.safetensors":
        (folder / "state_even.safetensors").unlink()
    with pytest.raises(RunError, match=path.name.replace(".", r"\.")):
        read_all(folder)
    assert time.monotonic() - start < 60


ODD = {  # what a state with a right SHA-256 says -> what is said of it
    "history is a number": (lambda about: about.update(history=5), "holds no history"),
    "a row is a text": (lambda about: about["history"].append("row"), "holds no history"),
    "a row is missing": (lambda about: about["history"].pop(0), "holds no history"),
    "an infinite loss": (lambda about: about["history"][0].update(d_loss=float("inf")), "holds no history"),
    "rows of other keys": (lambda about: about["history"][0].update(more=1.0), "holds no history"),
    "device": (lambda about: about["config"]["machine"].update(device="tpu"), "the device was 'tpu'"),
    "precision": (lambda about: about["config"]["machine"].update(precision=["x"]), "the precision was"),
    "threads": (lambda about: about["config"]["machine"].update(threads=10**9), "the threads was 1000000000"),
    "epochs": (lambda about: about["config"]["train"].update(epochs="many"), "asks for 'many' epochs"),
}


@pytest.mark.parametrize("odd", ODD)
def test_odd_content_with_a_right_hash_gets_a_sentence_that_names_the_file(odd, finished, tmp_path):
    spoil, said = ODD[odd]
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    (folder / "state_even.safetensors").unlink()
    tensors, about = read_tensors(folder / "state_odd.safetensors")
    spoil(about)
    write_tensors(folder / "state_odd.safetensors", tensors, about)
    with pytest.raises(RunError, match=rf"state_odd\.safetensors .*{said}"):
        run(folder, resume=True, epochs=4)


def test_an_odd_config_gets_a_sentence_too(finished, tmp_path):
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    config = read_json(folder / "config.json")
    config["machine"]["device"] = None
    write_json(folder / "config.json", config)
    with pytest.raises(RunError, match=r"config\.json says that the device was None"):
        load_run(folder)


# A device that is not there


@pytest.mark.parametrize("wanted", ["auto", "cpu"])
def test_a_run_begun_on_a_device_that_is_not_there_goes_on_here(wanted, tmp_path, capsys):
    run(tmp_path / "run", epochs=1, device="auto")
    for name in runs.checkpoint.STATES:
        if (tmp_path / "run" / name).exists():
            tensors, about = read_tensors(tmp_path / "run" / name)
            about["config"]["machine"]["device"] = about["config"]["train"]["device"] = "mps"
            if wanted == "auto":
                about["config"]["train"]["device"] = "auto"
            tensors["random.mps"] = torch.get_rng_state()
            write_tensors(tmp_path / "run" / name, tensors, about)
    done = run(tmp_path / "run", epochs=2, resume=True, device=wanted)
    assert done.epochs == 2
    assert load_run(tmp_path / "run").config["machine"]["device"] == "cpu"
    assert "Begun on the device mps, going on on cpu: from here on the bits differ" in capsys.readouterr().out


def test_the_device_that_the_environment_names_is_taken(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(machine, "why_not", lambda device: "")
    assert machine.choose_device().type == "cuda"
    monkeypatch.setenv("LABUTILS_DEVICE", "cpu")
    assert machine.choose_device().type == "cpu"
    assert machine.choose_device("cuda").type == "cuda"
    monkeypatch.setenv("LABUTILS_DEVICE", "tpu")
    with pytest.raises(ValueError, match="LABUTILS_DEVICE is 'tpu'; use one of auto, cpu, cuda, mps"):
        machine.choose_device()


def test_auto_takes_a_device_only_if_a_step_on_it_goes_well(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    machine.why_not.cache_clear()
    assert machine.choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert machine.why_not("mps")  # there is none, whatever it says
    machine.why_not.cache_clear()


def test_numerics_leave_what_the_caller_had(finished):
    described = load_run(finished).config["machine"]
    state, dtype = torch.get_rng_state(), torch.get_default_dtype()
    with torch.no_grad(), numerics(described):
        assert torch.is_grad_enabled()
        torch.randn(5)
        torch.set_default_dtype(torch.float64)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_default_dtype() == dtype
    assert files.read_json(finished / "config.json")["machine"] == described


def test_the_environment_is_named_where_it_asks_for_a_device_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"^device is 'cuda', but PyTorch finds none"):
        machine.choose_device("cuda")
    monkeypatch.setenv("LABUTILS_DEVICE", "cuda")
    with pytest.raises(ValueError, match=r"^LABUTILS_DEVICE is 'cuda', but PyTorch finds none"):
        machine.choose_device()
