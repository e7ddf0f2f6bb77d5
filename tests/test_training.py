"""What `train` refuses, where it stops, and what it leaves behind: a good run, and the caller's settings."""

import functools
import itertools
import math
import os
import signal

import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F

from labutils.config import TAMED
from labutils.losses import LOSSES
from labutils.presets import PRESETS, by_preset
from labutils.runs import RunError, TrainingDiverged, load_run
from labutils.training import TrainConfig, train, update_discriminator

pytestmark = pytest.mark.usefixtures("tiny_networks")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_networks):
    """A run of three epochs, never interrupted."""
    return run(tmp_path_factory.mktemp("finished") / "run").folder


def run(folder, images=None, resume=False, on_epoch=None, **changes):
    images = tiny.images() if images is None else images
    return train(tiny.config(**changes), folder, images=images, resume=resume, on_epoch=on_epoch, progress=False)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": "gan"}, "model is 'gan'; use one of 'mlp', 'dcgan'"),
        ({"model": ["mlp"]}, "model is .*; use one of"),
        ({"init": "zeros"}, "init is 'zeros'; use one of 'weights_init', 'default'"),
        ({"loss": "mse"}, "loss is 'mse'; use one of 'nonsaturating'"),
        ({"device": "gpu"}, "device is 'gpu'; use one of 'auto', 'cpu', 'cuda', 'mps'"),
        ({"precision": "float16"}, "precision is 'float16'; use one of"),
        ({"epochs": 0}, "epochs is 0; expected a whole number of at least 1"),
        ({"epochs": -3}, "epochs is -3"),
        ({"epochs": 2.0}, "epochs is 2.0"),
        ({"epochs": True}, "epochs is True"),
        ({"epochs": None}, "epochs is None"),
        ({"epochs": "10"}, "epochs is '10'"),
        ({"images": 1}, "images is 1; expected a whole number of at least 2"),
        ({"batch_size": 1}, "batch_size is 1; expected a whole number of at least 2"),
        ({"batch_size": None}, "batch_size is None"),
        ({"z_dim": 0}, "z_dim is 0; expected a whole number from 1 to 10000"),
        ({"z_dim": 10_001}, "z_dim is 10001"),
        ({"seed": -1}, "seed is -1; expected a whole number from 0 to"),
        ({"seed": 2**63}, "seed is 9223372036854775808"),
        ({"threads": 0}, "threads is 0"),
        ({"threads": 10**6}, "threads is 1000000; expected a whole number from 1 to"),
        ({"lr": 0}, "lr is 0; expected a positive number such as 2e-4"),
        ({"lr": -1e-4}, "lr is -0.0001"),
        ({"lr": math.nan}, "lr is nan"),
        ({"lr": math.inf}, "lr is inf"),
        ({"lr": 10**400}, "lr is 1000"),
        ({"lr": "2e-4"}, "lr is '2e-4'"),
        ({"lr": True}, "lr is True"),
        ({"lr": None}, "lr is None"),
        ({"beta1": 1}, "beta1 is 1; expected a number from 0 up to, not including, 1"),
        ({"beta1": -0.1}, "beta1 is -0.1"),
        ({"beta1": math.nan}, "beta1 is nan"),
        ({"beta1": False}, "beta1 is False"),
    ],
)
def test_a_bad_setting_gets_a_sentence(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        TrainConfig(**changes)


def test_the_largest_and_smallest_settings_are_taken():
    TrainConfig(seed=2**63 - 1, z_dim=10_000, lr=1, beta1=0, threads=None, images=None)
    TrainConfig(seed=0, z_dim=1, lr=1e-12, beta1=0.999, threads=1, images=2, batch_size=2)


def test_whole_numbers_are_taken_where_numbers_are_expected(tmp_path):
    run(tmp_path / "run", epochs=1, beta1=0, lr=1, r1=1, ema=0, precision="bfloat16")  # its fused Adam is particular


def test_presets_change_sizes_only(monkeypatch):
    for name in PRESETS:
        monkeypatch.setenv("LABUTILS_PRESET", name)
        for model in ("mlp", "dcgan"):
            config, default = TrainConfig.preset(model, seed=5), TrainConfig(model=model, seed=5, **TAMED[model])
            assert {k for k in vars(config) if vars(config)[k] != vars(default)[k]} <= {"epochs", "images"}
        assert by_preset("smoke", "quick", "full") == name
    monkeypatch.delenv("LABUTILS_PRESET")
    assert by_preset(1, 2, 3) == 2
    monkeypatch.setenv("LABUTILS_PRESET", "fast")
    with pytest.raises(
        ValueError, match="LABUTILS_PRESET is 'fast', which is no preset; use one of smoke, quick, full"
    ):
        TrainConfig.preset()


def test_the_name_tells_what_differs():
    assert TrainConfig().name == TrainConfig(epochs=3).name == "mlp"
    assert TrainConfig(model="dcgan", lr=1e-3, seed=2).name == "dcgan-lr=0.001-seed=2"


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (lambda: [[0.0]], "images is of type list; expected a float32 tensor"),
        (lambda: tiny.images().numpy(), "images is of type ndarray"),
        (lambda: torch.zeros(()), r"images has shape \(\); expected a float32 tensor \(N, 1, 28, 28\)"),
        (lambda: torch.zeros(10, 28, 28), r"images has shape \(10, 28, 28\)"),
        (lambda: torch.zeros(10, 1, 28, 27), r"\(10, 1, 28, 27\)"),
        (lambda: torch.zeros(10, 3, 28, 28), r"\(10, 3, 28, 28\)"),
        (lambda: -torch.ones(1, 1, 28, 28), r"1 image is too few; .* N at least 2"),
        (lambda: tiny.images().double(), "torch.float64"),
        (lambda: torch.zeros(10, 1, 28, 28, dtype=torch.uint8), "torch.uint8"),
        (lambda: tiny.images() / 2 + 0.5, r"which looks like \[0, 1\]; expected \[-1, 1\], black being -1"),
        (lambda: tiny.images() * 255, r"images lie in \[-25.*; expected \[-1, 1\]"),
        (lambda: tiny.images().index_fill(0, torch.tensor(40), math.nan), "1 of 48 images hold NaN or infinity"),
        (lambda: tiny.images().index_fill(0, torch.tensor(40), math.inf), "1 of 48 images hold NaN or infinity"),
    ],
)
def test_bad_images_are_refused_before_anything_is_written(images, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        run(tmp_path / "run", images=images())
    assert not (tmp_path / "run").exists()


def test_more_images_than_there_are(tmp_path):
    with pytest.raises(ValueError, match=r"config\.images is 49, but there are only 48 images"):
        train(tiny.config(images=49), tmp_path / "run", images=tiny.images())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("model", ["mlp", "dcgan"])
@pytest.mark.parametrize(("count", "batch_size"), [(5, 128), (5, 2), (3, 2), (2, 2), (9, 4)])
def test_odd_numbers_of_images(model, count, batch_size, tmp_path):
    """Fewer than a batch, and a last batch of one, which batch norm could not take."""
    done = run(tmp_path / "run", tiny.images(count), model=model, batch_size=batch_size, epochs=1)
    assert done.epochs == 1
    assert all(math.isfinite(value) for value in done.history[0].values())


def test_the_history_of_an_epoch(finished):
    history = load_run(finished).history
    assert [row["epoch"] for row in history] == [1, 2, 3]
    for row in history:
        shares = ["d_real", "d_fake", "d_accuracy_real", "d_accuracy_fake"]
        losses = ["d_loss", "g_loss", "d_loss_last", "g_loss_last"]
        assert set(row) == {"epoch", *shares, *losses, "seconds", "cpu_seconds", "images_per_second"}
        assert all(0 <= row[key] <= 1 for key in shares)
        assert all(0 < row[key] < 10 for key in losses)
        assert row["seconds"] * row["images_per_second"] == pytest.approx(48)
        assert row["cpu_seconds"] > 0


def test_a_new_run_takes_an_empty_folder_only(finished, tmp_path):
    before = tiny.fingerprint(finished)
    with pytest.raises(RunError, match="run is not empty: pass resume=True to go on with its run, or another folder"):
        run(finished)
    assert tiny.fingerprint(finished) == before
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="not empty"):
        run(tmp_path)
    with pytest.raises(
        RunError, match=r"cannot be resumed\. It has neither state_even.* nor state_odd.* another folder"
    ):
        run(tmp_path, resume=True)
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", ".lock"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"seed": 1}, "seed is 0 there, 1 here"),
        ({"lr": 1e-3, "batch_size": 16}, "batch_size is 32 there, 16 here; lr is 0.0002 there, 0.001 here"),
        ({"images": torch.zeros(48, 1, 28, 28) - 1}, "SHA-256 of the images is .* there, .* here"),
        ({"images": tiny.images(47)}, "SHA-256 of the images"),
        ({"model": "dcgan"}, "model is 'mlp' there, 'dcgan' here"),
    ],
)
def test_a_resume_with_other_settings_or_images_is_refused(changes, sentence, finished):
    before = tiny.fingerprint(finished)
    with pytest.raises(RunError, match=f"holds another run: .*{sentence}.* Train into another folder"):
        run(finished, resume=True, **changes)
    assert tiny.fingerprint(finished) == before


def test_fewer_epochs_take_nothing_away_and_more_are_added(tmp_path, finished):
    assert run(tmp_path / "run", epochs=2).epochs == 2
    assert run(tmp_path / "run", epochs=1, resume=True).epochs == 2
    assert load_run(tmp_path / "run").config["train"]["epochs"] == 2
    assert run(tmp_path / "run", epochs=3, resume=True).epochs == 3
    longer, straight = tiny.fingerprint(tmp_path / "run"), tiny.fingerprint(finished)
    differing = {name for name in straight if longer[name] != straight[name]}
    assert differing == {"state_even.safetensors"}  # of epoch 2, when two were asked for


def test_a_resume_keeps_to_the_threads_and_precision_of_the_run(tmp_path):
    run(tmp_path / "run", epochs=1, precision="auto", threads=None)
    machine = load_run(tmp_path / "run").config["machine"]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        resumed = run(tmp_path / "run", epochs=2, precision="auto", threads=None, resume=True)
    finally:
        torch.set_num_threads(threads)
    assert resumed.config["machine"] == machine


def test_another_version_of_pytorch_is_told(tmp_path, capsys, monkeypatch):
    run(tmp_path / "run", epochs=1)
    monkeypatch.setattr(torch, "__version__", "99.0")
    run(tmp_path / "run", epochs=2, resume=True)
    assert "going on with 99.0: bits may differ" in capsys.readouterr().out


@pytest.mark.parametrize("flushed", [True, False])
def test_threads_that_are_measured_move_nothing_of_the_caller_s(flushed, tmp_path):
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        torch.set_flush_denormal(flushed)
        run(tmp_path / "run", epochs=1, threads=None)
        assert torch.equal(torch.get_rng_state(), before)
        assert (torch.tensor(1e-40) * 1.0 == 0) == flushed
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)


def test_the_caller_s_settings_come_back(tmp_path):
    threads, dtype, before = torch.get_num_threads(), torch.get_default_dtype(), torch.get_rng_state()
    run(tmp_path / "run", epochs=1, threads=threads + 1)
    with pytest.raises(ZeroDivisionError):
        run(tmp_path / "run", epochs=2, resume=True, on_epoch=lambda run: 1 / 0, threads=threads + 1)
    assert torch.equal(torch.get_rng_state(), before)
    assert (torch.get_num_threads(), torch.get_default_dtype()) == (threads, dtype)
    assert torch.is_grad_enabled()
    assert torch.tensor(1e-40) * 1.0 != 0  # denormal numbers are numbers again


def test_images_that_want_a_gradient_get_none(tmp_path, finished):
    images = tiny.images().requires_grad_()
    run(tmp_path / "leaf", images=images)
    assert images.grad is None
    run(tmp_path / "computed", images=images * images.new_ones(1, requires_grad=True))
    for name in ("leaf", "computed"):
        assert tiny.fingerprint(tmp_path / name) == tiny.fingerprint(finished)


def test_images_with_gaps_in_memory_are_those_images(tmp_path, finished):
    gaps = tiny.images().repeat_interleave(2, dim=3)[..., ::2]
    run(tmp_path / "gaps", images=gaps)
    run(tmp_path / "negative", images=torch._neg_view(-gaps))
    for name in ("gaps", "negative"):
        assert tiny.fingerprint(tmp_path / name) == tiny.fingerprint(finished)


def test_a_run_stays_in_its_folder_when_the_working_folder_changes(tmp_path, finished, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    run("run", on_epoch=lambda run: monkeypatch.chdir(tmp_path / "elsewhere"))
    assert tiny.fingerprint(tmp_path / "run") == tiny.fingerprint(finished)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_folder_below_home_is_meant_by_a_tilde(tmp_path, monkeypatch):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert run("~/run", epochs=1).folder == tmp_path / "run"
    assert load_run("~/run").epochs == 1


def test_an_error_in_on_epoch_loses_nothing_and_lets_go_of_the_run(tmp_path, finished):
    def on_epoch(run):
        if run.epochs == 2:
            raise LookupError("the plot broke")

    with pytest.raises(LookupError, match="the plot broke"):
        run(tmp_path / "run", on_epoch=on_epoch)
    assert load_run(tmp_path / "run").epochs == 2
    run(tmp_path / "run", resume=True)
    assert tiny.fingerprint(tmp_path / "run") == tiny.fingerprint(finished)


def test_one_training_at_a_time_in_one_process_too(tmp_path):
    def on_epoch(_):
        run(tmp_path / "run", resume=True)

    with pytest.raises(RunError, match="Another training is writing"):
        run(tmp_path / "run", on_epoch=on_epoch)
    assert run(tmp_path / "run", resume=True).epochs == 3


def spoiled(monkeypatch, at: int, spoil):
    """Let `spoil` have the generator's loss and logits at its `at`-th step, counted from 1; two steps are an epoch."""
    d_loss, g_loss = LOSSES["nonsaturating"]
    count = itertools.count(1)

    @functools.wraps(g_loss)
    def loss(logits):
        return spoil(g_loss(logits), logits) if next(count) == at else g_loss(logits)

    monkeypatch.setitem(LOSSES, "nonsaturating", (d_loss, loss))


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("at", [1, 2, 5, 6])
def test_a_loss_that_is_no_number_stops_the_training(value, at, tmp_path, monkeypatch):
    spoiled(monkeypatch, at, lambda loss, logits: loss + float(value))
    epoch, step = (at + 1) // 2, 2 - at % 2
    with pytest.raises(TrainingDiverged) as stopped:
        run(tmp_path / "run")
    for part in (
        f"epoch {epoch}, step {step} ",
        f"G {value}",
        "D 1.",
        "learning rate 0.0002",
        "Try a learning rate ten",
    ):
        assert part in str(stopped.value)
    assert f"Epoch {epoch - 1}, the last good one, is kept in {tmp_path / 'run'}" in str(stopped.value)
    kept = load_run(tmp_path / "run")
    assert kept.epochs == epoch - 1
    assert all(weight.isfinite().all() for weight in kept.generator().state_dict().values())


def test_a_run_that_stopped_goes_on_from_the_last_good_state(tmp_path, finished, monkeypatch):
    with monkeypatch.context() as patch:
        spoiled(patch, 5, lambda loss, logits: loss * math.nan)
        with pytest.raises(TrainingDiverged):
            run(tmp_path / "run")
    run(tmp_path / "run", resume=True)
    assert tiny.fingerprint(tmp_path / "run") == tiny.fingerprint(finished)


def test_weights_that_are_no_numbers_are_never_saved(tmp_path, monkeypatch):
    """The last step of an epoch can break the generator after both losses were seen to be good."""
    spoiled(monkeypatch, 4, lambda loss, logits: loss + (0 * logits).abs().sqrt().sum())  # adds 0, with gradient NaN
    with pytest.raises(
        TrainingDiverged, match=r"A weight became NaN .* epoch 2 .*0\.0002.* Epoch 1, the last good one"
    ):
        run(tmp_path / "run")
    kept = load_run(tmp_path / "run")
    assert kept.epochs == 1
    assert all(weight.isfinite().all() for weight in kept.generator().state_dict().values())


def test_a_learning_rate_far_too_large_stops_in_the_first_epoch(tmp_path):
    with pytest.raises(
        TrainingDiverged, match=r"in epoch 1, step .* learning rate 1e\+25\)\. Epoch 0, the last good one"
    ):
        run(tmp_path / "run", lr=1e25)
    assert load_run(tmp_path / "run").epochs == 0


def interrupted_at(monkeypatch, owner, name: str, at: int):
    """Let a Ctrl-C come at the `at`-th call of a function, once."""
    function, count = getattr(owner, name), itertools.count(1)

    def calling(*arguments, **more):
        if next(count) == at:
            raise KeyboardInterrupt
        return function(*arguments, **more)

    monkeypatch.setattr(owner, name, calling)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_ctrl_c_during_a_save_finishes_the_save(name, tmp_path, finished, monkeypatch, capsys):
    each = (
        14 if name == "fsync" and os.name == "posix" else 7
    )  # calls a save: of each file, and where it can its folder
    for number, at in enumerate(range(each + 1, 3 * each, each // 4)):
        folder = tmp_path / str(number)
        with monkeypatch.context() as patch:
            interrupted_at(patch, os, name, at)
            stopped = run(folder)
        epochs = (at - 1) // each
        assert stopped.interrupted
        assert stopped.epochs == epochs
        assert load_run(folder).history == stopped.history
        assert (
            f"Stopped: {epochs} of 3 epochs are kept in {folder}. train(config, resume=True)" in capsys.readouterr().out
        )
        assert not run(folder, resume=True).interrupted
        assert tiny.fingerprint(folder) == tiny.fingerprint(finished)


def test_ctrl_c_during_the_first_save_leaves_what_a_resume_can_take(tmp_path, finished, monkeypatch):
    for at in range(1, 8):
        folder = tmp_path / str(at)
        with monkeypatch.context() as patch:
            interrupted_at(patch, os, "replace", at)
            with pytest.raises(KeyboardInterrupt):
                run(folder)
        run(folder, resume=True)
        assert tiny.fingerprint(folder) == tiny.fingerprint(finished)


@pytest.mark.parametrize("at", [1, 2, 3, 6])
def test_ctrl_c_during_a_step_keeps_the_epochs_before(at, tmp_path, finished, monkeypatch):
    def interrupt(loss, logits):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        spoiled(patch, at, interrupt)
        stopped = run(tmp_path / "run")
    assert stopped.interrupted
    assert stopped.epochs == load_run(tmp_path / "run").epochs == (at - 1) // 2
    run(tmp_path / "run", resume=True)
    assert tiny.fingerprint(tmp_path / "run") == tiny.fingerprint(finished)


@pytest.mark.thorough
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers that Windows does not have")
def test_ctrl_c_at_any_time(tmp_path, finished):
    """A real signal, later each time; the training goes on from what the last one left, to the same end."""
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    stops = 0
    try:
        for number in range(30):
            signal.setitimer(signal.ITIMER_REAL, 0.005 + 0.004 * number)
            try:
                done = run(tmp_path / "run", epochs=40, resume=True)
                stops += done.interrupted
                assert load_run(tmp_path / "run").history == done.history
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                stops += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert stops >= 10
    run(tmp_path / "run", epochs=40, resume=True)
    run(tmp_path / "whole", epochs=40)
    assert tiny.fingerprint(tmp_path / "run") == tiny.fingerprint(tmp_path / "whole")


def own_d_step(discriminator, optimizer, real, fake):
    """What a student writes."""
    real_logits, fake_logits = discriminator.logits(real), discriminator.logits(fake.detach())
    loss = F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach(), real_logits.detach(), fake_logits.detach()


def own_g_step(discriminator, optimizer, fake):
    loss = F.softplus(-discriminator.logits(fake)).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def test_a_student_s_steps_train_the_same_run_and_it_says_whose_they_were(tmp_path):
    train(tiny.config(), tmp_path / "ours", images=tiny.images(), progress=False)
    yours = train(tiny.config(), tmp_path / "own", images=tiny.images(), progress=False, steps=(own_d_step, own_g_step))
    ours = load_run(tmp_path / "ours")
    assert ours.config["steps"] == ["labutils.training.update_discriminator", "labutils.training.update_generator"]
    assert [name.rpartition(".")[2] for name in yours.config["steps"]] == ["own_d_step", "own_g_step"]
    for one, other in zip(ours.history, yours.history, strict=True):
        assert one["d_loss"] == pytest.approx(other["d_loss"], abs=1e-4)
    for one, other in zip(ours.generator().parameters(), yours.generator().parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4)
    again = {"images": tiny.images(), "progress": False, "resume": True}
    still = train(tiny.config(), tmp_path / "own", **again)  # nothing is left to train
    assert still.config["steps"] == load_run(tmp_path / "own").config["steps"] == yours.config["steps"]
    both = train(tiny.config(epochs=4), tmp_path / "own", **again, steps=(update_discriminator, own_g_step))
    assert both.config["steps"] == [*yours.config["steps"], "labutils.training.update_discriminator"]


def test_own_steps_beside_another_loss_are_refused(tmp_path):
    with pytest.raises(ValueError, match="leave loss, r1 and gradient_penalty"):
        train(tiny.config(loss="hinge"), tmp_path / "run", steps=(own_d_step, own_g_step))


@pytest.mark.parametrize(
    ("steps", "sentence"),
    [
        ((own_d_step, lambda *_: None), "Your step of G returned NoneType; expected a tensor: the loss"),
        ((own_d_step, lambda *_: 0.5), "Your step of G returned float"),
        ((own_d_step, lambda *_: torch.ones(3)), r"Your step of G returned torch.Size\(\[3\]\)"),
        ((lambda *_: None, own_g_step), "Your step of D returned NoneType; expected three tensors: the loss"),
        ((lambda *_: own_d_step(*_)[0], own_g_step), r"Your step of D returned torch.Size\(\[\]\); expected three"),
        ((lambda *_: (1.0, 2.0, 3.0), own_g_step), "Your step of D returned float, float, float"),
    ],
)
def test_an_own_step_that_returns_something_else_gets_a_sentence(steps, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        train(tiny.config(), tmp_path / "run", images=tiny.images(), progress=False, steps=steps)


@pytest.mark.parametrize("name", ["model", "spectral_norm", "device"])
def test_several_values_for_one_setting_get_a_sentence(name):
    for value in (np.array([1, 2]), torch.tensor([1, 2])):
        with pytest.raises(ValueError, match=f"{name} is .*; use one of"):
            TrainConfig(**{name: value})
