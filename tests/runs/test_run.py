"""Runs on disk: damage is recognised and named, nothing saved is lost, and loading never does more than load."""

import contextlib
import errno
import io
import os
import pickle
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import safetensors.torch
import tiny
import torch
from PIL import Image

from labutils import runs
from labutils.engine import files
from labutils.runs import RunError, checkpoint, load_run
from labutils.training import train

READ = {  # each kind of file in a run, and how a reader comes to it
    "state_odd.safetensors": lambda folder: runs.read_tensors(folder / "state_odd.safetensors"),
    "state_even.safetensors": lambda folder: runs.read_tensors(folder / "state_even.safetensors"),
    "generator.safetensors": lambda folder: load_run(folder).generator(),
    "discriminator.safetensors": lambda folder: load_run(folder).discriminator(),
    "config.json": load_run,
    "history.csv": load_run,
    "samples/epoch_0003.png": lambda folder: load_run(folder).grid(3),
}


pytestmark = pytest.mark.usefixtures("tiny_networks")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_networks) -> Path:
    """A run of three epochs, to be copied, never changed."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    train(tiny.config(), folder, images=tiny.images(), progress=False)
    return folder


@pytest.fixture
def folder(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def resume(folder: Path, **changes):
    return train(tiny.config(**changes), folder, images=tiny.images(), resume=True, progress=False)


def flipped(content: bytes, at: int, to: int | None = None) -> bytes:
    return content[:at] + bytes([content[at] ^ 1 if to is None else to]) + content[at + 1 :]


def test_a_run_comes_back_as_it_was(finished):
    run = load_run(finished)
    assert run.epochs == 3
    assert run.sample_epochs() == [0, 1, 2, 3]
    assert run.grid(3).size == (242, 242)
    assert run.config["train"]["z_dim"] == 4
    assert run.config["machine"]["torch"] == torch.__version__
    tensors, *rest = checkpoint.last_state(finished)
    assert rest == [run.config, run.history, run.first_steps, []]
    for name, network in (("generator", run.generator()), ("discriminator", run.discriminator())):
        assert not network.training
        assert all(torch.equal(value, tensors[f"{name}.{key}"]) for key, value in network.state_dict().items())


def test_loading_draws_no_random_number(finished):
    before = torch.get_rng_state()
    load_run(finished).generator()
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", READ)
def test_damage_is_recognised_and_named(name, folder):
    path = folder / name
    good = path.read_bytes()
    size = len(good)
    damaged = [good[:length] for length in {0, 1, 7, 8, 9, size // 3, size // 2, size - 9, size - 1}]
    damaged += [flipped(good, at) for at in range(0, size, max(size // 150, 1))]
    damaged += [
        flipped(good, at, to)
        for at in (*range(0, min(size, 400), 7), *range(max(size - 20, 0), size))
        for to in (0, 255)
    ]
    for content in [c for c in damaged if c != good]:
        path.write_bytes(content)
        with pytest.raises(RunError) as refused:
            READ[name](folder)
        assert str(path) in str(refused.value)
    path.unlink()
    with pytest.raises(RunError, match=r"missing|no config.json"):
        READ[name](folder)


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing"])
def test_resume_repairs_a_damaged_run(name, damage, folder, finished, tmp_path, capsys):
    path = folder / name
    good = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(good[: len(good) // 2] if damage == "truncated" else flipped(good, len(good) // 2))
    resume(folder)
    told = capsys.readouterr().out
    READ[name](folder) if name != "state_even.safetensors" else None  # of epoch 2: the save of epoch 4 replaces it
    if name in checkpoint.STATES:
        assert (str(path) in told) == (damage != "missing")
        resume(folder, epochs=4)
        whole = resume(Path(shutil.copytree(finished, tmp_path / "whole")), epochs=4)
        assert tiny.fingerprint(folder) == tiny.fingerprint(whole.folder)
    else:
        assert tiny.fingerprint(folder) == tiny.fingerprint(finished)


@pytest.mark.parametrize("damage", ["damaged", "missing"])
def test_the_last_good_state_is_used(damage, folder, finished, capsys, monkeypatch):
    """And it stays until the epoch after it is on the disk."""
    path = folder / "state_odd.safetensors"
    content = path.read_bytes()
    path.unlink() if damage == "missing" else path.write_bytes(flipped(content, 5000))
    assert len(checkpoint.last_state(folder)[2]) == 2
    replace = os.replace

    def failing(source, target):
        if target.name in checkpoint.STATES:
            raise OSError(errno.EIO, "no more")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(RunError, match="no more"):
        resume(folder)
    monkeypatch.setattr(os, "replace", replace)
    assert len(checkpoint.last_state(folder)[2]) == 2
    resume(folder)
    assert ("Going on from epoch 2, the last good one." in capsys.readouterr().out) == (damage == "damaged")
    assert tiny.fingerprint(folder) == tiny.fingerprint(finished)


@pytest.mark.parametrize("other", ["damaged", "missing"])
def test_without_a_good_state_nothing_is_touched(other, folder):
    for name in checkpoint.STATES:
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        if other == "damaged":
            (folder / name).write_bytes(flipped(content, 5000))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(
        RunError, match=r"cannot be resumed\. .*state_even\.safetensors.*state_odd\.safetensors.* another folder"
    ):
        resume(folder, epochs=5)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert load_run(folder).epochs == 3


def test_every_flip_in_a_small_file_is_detected_or_harmless(tmp_path, monkeypatch):
    path = tmp_path / "small.safetensors"
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.arange(6).reshape(3, 2), "c": torch.tensor(True)}
    about = {"epoch": 3, "history": [{"d_loss": 0.5}], "text": "é"}
    runs.write_tensors(path, tensors, about)
    good = path.read_bytes()
    harmless = 0
    for at in range(len(good)):
        for to in {good[at] ^ 1 << bit for bit in range(8)} | {*b"\t\n\r ", 255} - {good[at]}:
            monkeypatch.setattr(files, "read_bytes", lambda path, at=at, to=to: flipped(good, at, to))
            try:
                read, found = runs.read_tensors(path)
            except RunError:
                continue
            assert (found, read.keys()) == (about, tensors.keys()), f"byte {at} changed to {to}"
            for key, value in tensors.items():
                assert value.dtype == read[key].dtype, f"byte {at} changed to {to}"
                assert torch.equal(value, read[key]), f"byte {at} changed to {to}"
            harmless += 1
    assert harmless <= 8 * 8  # white space for white space, in the padding of the header


def test_a_config_that_was_edited_is_refused_and_carriage_returns_are_not(folder):
    path = folder / "config.json"
    good = path.read_bytes()
    path.write_bytes(good.replace(b"\n", b"\r\n"))  # what git does on Windows
    (folder / "history.csv").write_bytes((folder / "history.csv").read_bytes().replace(b"\n", b"\r\n"))
    assert load_run(folder).epochs == 3
    path.write_bytes(good.replace(b'"seed": 0', b'"seed": 1'))
    with pytest.raises(RunError, match=r"config\.json was changed after it was written"):
        load_run(folder)


def rewritten(folder: Path, part: str | None, key: str, value) -> None:
    """Change config.json as another program would that signs what it writes; None takes the key away."""
    config = runs.read_json(folder / "config.json")
    there = config[part] if part else config
    if value is None:
        del there[key]
    else:
        there[key] = value
    runs.write_json(folder / "config.json", config)


@pytest.mark.parametrize(
    ("part", "key", "value", "sentence"),
    [
        (None, "format", 2, r"run format 2, this labutils reads format 1"),
        (None, "format", None, r"run format none"),
        (None, "train", None, r"lacks train\.model, train\.z_dim, train\.epochs"),
        (None, "machine", "laptop", r"lacks machine\.device"),
        ("machine", "threads", None, r"lacks machine\.threads"),
        ("train", "model", "transformer", r"the model 'transformer'; labutils has mlp, dcgan"),
        ("train", "model", "../../etc/passwd", r"the model '\.\./\.\./etc/passwd'"),
        ("train", "model", ["mlp"], r"the model \['mlp'\]"),
        ("train", "z_dim", 10**9, r"z_dim 1000000000; expected a whole number from 1 to 10000"),
        ("train", "z_dim", 0, r"z_dim 0"),
        ("train", "z_dim", True, r"z_dim True"),
        ("train", "z_dim", "4", r"z_dim '4'"),
    ],
)
def test_a_foreign_config_gets_a_sentence(part, key, value, sentence, folder):
    rewritten(folder, part, key, value)
    with pytest.raises(RunError, match=sentence):
        load_run(folder)


def test_unknown_keys_do_not_matter_to_a_reader(folder):
    rewritten(folder, "train", "from_a_later_version", 1)
    assert load_run(folder).generator()(torch.zeros(1, 4)).shape == (1, 1, 28, 28)


@pytest.mark.parametrize(("key", "value"), [("z_dim", 5), ("model", "dcgan")])
def test_weights_of_other_networks_are_refused(key, value, folder):
    rewritten(folder, "train", key, value)
    with pytest.raises(RunError, match=r"generator\.safetensors does not fit config\.json .*: layers\.0.* expected"):
        load_run(folder).generator()


def test_weights_of_another_type_are_refused(folder):
    path = folder / "generator.safetensors"
    runs.write_tensors(path, {key: value.double() for key, value in runs.read_tensors(path)[0].items()}, {})
    with pytest.raises(RunError, match=r"torch\.float64 \(784,\), expected torch\.float32 \(784,\)"):
        load_run(folder).generator()


def test_not_a_run(tmp_path, folder):
    with pytest.raises(RunError, match=r"nothing is not a run: .* Runs here: run\."):
        load_run(tmp_path / "nothing")
    with pytest.raises(RunError, match=r"nothing-at-all is not a run: .* Runs here: none\."):
        load_run(tmp_path / "nowhere" / "nothing-at-all")
    (folder / "history.csv").write_text("# sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n")
    with pytest.raises(RunError, match=r"history\.csv is not a history"):
        load_run(folder)


class Trap:
    """What a pickle would do that is loaded."""

    def __reduce__(self):
        return os.mkdir, (os.environ["LABUTILS_TRAP"],)


def safetensors_bytes(header: str, data: bytes = b"") -> bytes:
    return len(header.encode()).to_bytes(8, "little") + header.encode() + data


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 242 242\n%%EndComments\n0 0 moveto showpage\n%%EOF\n"
HUGE = '{"a": {"dtype": "F32", "shape": [%s], "data_offsets": [0, %s]}}'


def zipped(_) -> bytes:
    content = io.BytesIO()
    torch.save({"a": Trap()}, content)
    return content.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(lambda good: pickle.dumps(Trap()), id="a pickle"),
        pytest.param(zipped, id="a file of torch.save"),
        pytest.param(lambda good: safetensors_bytes(HUGE % (2**40, 2**42)), id="a huge shape"),
        pytest.param(
            lambda good: safetensors_bytes(HUGE % ("4611686018427387904, 4611686018427387904, 0", 0)), id="overflow"
        ),
        pytest.param(lambda good: safetensors_bytes(HUGE % (2**61, 0)), id="a huge shape of nothing"),
        pytest.param(lambda good: (2**60).to_bytes(8, "little") + good[8:], id="a header of 2**60 bytes"),
        pytest.param(lambda good: (2**64 - 1).to_bytes(8, "little") + good[8:], id="a header of 2**64 - 1 bytes"),
        pytest.param(lambda good: safetensors_bytes("[" * 100_000), id="nested brackets"),
        pytest.param(
            lambda good: safetensors_bytes('{"__metadata__": {"labutils": "%s"}}' % ("[" * 90_000)), id="nested about"
        ),
        pytest.param(lambda good: b"[" * 1_000_000, id="brackets only"),
        pytest.param(lambda good: b'{"a":' * 100_000, id="nested objects"),
        pytest.param(lambda good: b'{"sha256": ' + b"9" * 10_000 + b"}", id="a long number"),
        pytest.param(lambda good: b"[]", id="a list"),
        pytest.param(lambda good: b"null", id="null"),
        pytest.param(lambda good: safetensors.torch.save({"a": torch.ones(2)}), id="unsigned tensors"),
        pytest.param(lambda good: EPS, id="a program in PostScript"),
    ],
)
def test_foreign_content_is_refused_and_never_executed(content, folder, monkeypatch, tmp_path):
    trap = tmp_path / "sprung"
    monkeypatch.setenv("LABUTILS_TRAP", str(trap))
    for name, read in READ.items():
        good = (folder / name).read_bytes()
        (folder / name).write_bytes(content(good))
        with little_memory(), pytest.raises(RunError) as refused:
            read(folder)
        assert str(folder / name) in str(refused.value)
        (folder / name).write_bytes(good)
    assert not trap.exists()


def test_the_trap_works(monkeypatch, tmp_path):
    monkeypatch.setenv("LABUTILS_TRAP", str(tmp_path / "sprung"))
    pickle.loads(pickle.dumps(Trap()))
    assert (tmp_path / "sprung").exists()


@contextlib.contextmanager
def little_memory(limit: int = 50 * 2**20):
    """Fails where the peak of memory inside goes up by more than `limit` bytes; measured on Linux only."""
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")

    def peak() -> int:
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))

    try:
        clear.write_text("5")  # the peak starts anew
    except OSError:
        yield
        return
    before = peak()
    yield
    assert peak() - before < limit


@pytest.mark.parametrize(("size", "mode"), [((9000, 9000), "L"), ((242, 242), "RGB"), ((241, 242), "L")])
def test_a_picture_of_another_kind_is_refused(size, mode, folder):
    Image.new(mode, size).save(folder / "samples" / "epoch_0003.png")
    with little_memory(), pytest.raises(RunError, match=r"epoch_0003\.png is damaged .* in place of L"):
        load_run(folder).grid(3)


def test_a_picture_that_claims_to_be_huge_is_refused(folder):
    path = folder / "samples" / "epoch_0003.png"
    good = path.read_bytes()
    header = b"IHDR" + struct.pack(">II", 10**6, 10**6) + good[24:29]
    path.write_bytes(good[:12] + header + struct.pack(">I", zlib.crc32(header)) + good[33:])
    with little_memory(), pytest.raises(RunError, match=r"epoch_0003\.png is damaged"):
        load_run(folder).grid(3)


def test_odd_names_among_the_samples_do_not_matter(folder):
    for name in ("epoch_best.png", "epoch_0001 (copy).png", ".epoch_0004.png.new"):
        (folder / "samples" / name).write_bytes(b"")
    assert load_run(folder).sample_epochs() == [0, 1, 2, 3]


def test_a_generator_of_nan_loads_as_it_was_saved(folder):
    path = folder / "generator.safetensors"
    runs.write_tensors(path, {k: v * float("nan") for k, v in runs.read_tensors(path)[0].items()}, {})
    assert load_run(folder).generator()(torch.zeros(1, 4)).isnan().all()


def test_a_state_of_other_networks_or_another_file_is_refused(folder, tmp_path):
    other = tmp_path / "other"
    train(tiny.config(z_dim=5), other, images=tiny.images(), progress=False)
    for name in checkpoint.STATES:
        shutil.copy(other / name, folder)
    with pytest.raises(RunError, match=r"holds another run: z_dim is 5 there, 4 here"):
        resume(folder)
    for name in checkpoint.STATES:
        shutil.copy(other / "generator.safetensors", folder / name)
    with pytest.raises(RunError, match=r"state_even\.safetensors is another file, not the state of a run"):
        resume(folder)
    tensors, config, history, *_ = checkpoint.last_state(Path(shutil.copytree(other, tmp_path / "third")))
    about = {"config": config | {"train": config["train"] | {"z_dim": 4}}, "history": history}
    runs.write_tensors(folder / "state_odd.safetensors", tensors, about)
    with pytest.raises(RunError, match=r"state in .* does not fit its networks"):
        resume(folder)


class Filler:
    """An on_epoch that makes the next save fail, once."""

    def __init__(self, fail):
        self.fail = fail

    def __call__(self, run):
        if run.epochs == 2:
            self.fail()


def fails_then_goes_on(folder: Path, finished: Path, sentence: str, fail, mend) -> None:
    """Two epochs, then a save that fails with `sentence`: two epochs are there, and after `mend` the rest comes."""
    with pytest.raises(RunError, match=sentence):
        train(tiny.config(), folder, images=tiny.images(), on_epoch=Filler(fail), progress=False)
    assert not list(folder.rglob(".*.new")), "temporary files were left over"
    assert load_run(folder).epochs == 2
    load_run(folder).generator()
    mend()
    assert resume(folder).epochs == 3
    assert tiny.fingerprint(folder) == tiny.fingerprint(finished)


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.ENOSPC, "the disk is full; free some space"),
        (errno.EDQUOT, "your disk quota is used up"),
        (errno.EACCES, "no permission"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
)
@pytest.mark.parametrize("function", ["open", "fsync", "replace"])
def test_a_failed_save_is_told_and_loses_nothing(number, sentence, function, tmp_path, finished, monkeypatch):
    owner = Path if function == "open" else os

    def failing(*arguments, **more):
        if function != "open" or "xb" in arguments:
            raise OSError(number, os.strerror(number))
        return working(*arguments, **more)

    working = getattr(owner, function)
    fails_then_goes_on(
        tmp_path / "run",
        finished,
        rf"Cannot write .*state_odd\.safetensors: .*{sentence}.* What was saved before is still good",
        fail=lambda: monkeypatch.setattr(owner, function, failing),
        mend=lambda: monkeypatch.setattr(owner, function, working),
    )


def test_a_limit_of_file_sizes(tmp_path, finished):
    resource = pytest.importorskip("resource", reason="Windows has no such limit")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        fails_then_goes_on(
            tmp_path / "run",
            finished,
            r"larger than this system's limit",
            fail=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, limits[1])),
            mend=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits),
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk]
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a file system needs Linux and root")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk(small_disk, finished):
    filler = small_disk / "filler"

    def fill():
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1000))

    fails_then_goes_on(small_disk / "run", finished, r"the disk is full", fail=fill, mend=filler.unlink)


def test_a_read_only_disk(small_disk, finished):
    folder = Path(shutil.copytree(finished, small_disk / "run"))
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for there in (folder, small_disk / "new"):
        with pytest.raises(RunError, match=r"file system is read-only; set LABUTILS_RUNS"):
            resume(there, epochs=4)
    assert load_run(folder).epochs == 3
    assert tiny.fingerprint(folder) == tiny.fingerprint(finished)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="needs a user whom permissions bind")
def test_a_folder_without_permission(folder, finished):
    folder.chmod(0o555)
    try:
        with pytest.raises(RunError, match=r"no permission"):
            resume(folder, epochs=4)
        assert tiny.fingerprint(folder) == tiny.fingerprint(finished)
    finally:
        folder.chmod(0o755)


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "run").write_text("mine")
    for folder in (tmp_path / "run", tmp_path / "run" / "below"):
        with pytest.raises(RunError, match=r"Cannot write .*run.*: a file (has that name|stands where)"):
            resume(folder)
    assert (tmp_path / "run").read_text() == "mine"


def test_leftovers_of_a_kill_are_replaced(folder, finished):
    for name in ("state_odd.safetensors", "config.json"):
        (folder / f".{name}.new").write_bytes(b"half")
    (folder / "state_odd.safetensors").unlink()
    shutil.rmtree(folder / "samples")
    resume(folder)
    assert not list(folder.glob(".*.new"))
    assert load_run(folder).sample_epochs() == [2, 3]
    shutil.copytree(finished / "samples", folder / "samples", dirs_exist_ok=True)
    assert tiny.fingerprint(folder) == tiny.fingerprint(finished)


def test_files_are_on_the_disk_before_they_get_their_name(tmp_path, monkeypatch):
    """The content is synchronised before the rename, the folder after it, so that a power cut leaves old or new."""
    done = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: done.append(os.path.isdir(f"/proc/self/fd/{descriptor}")))
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("rename"), replace(*paths)))
    files.write_whole(tmp_path / "file", b"content")
    expected = [False, "rename", True] if sys.platform == "linux" else [False, "rename", False]
    assert done == (expected if os.name == "posix" else expected[:2])
    assert (tmp_path / "file").read_bytes() == b"content"


def test_an_epoch_that_a_run_does_not_have_gets_a_sentence(folder):
    for epoch in (7, -1, "1", 1.5):
        with pytest.raises(
            RunError, match=rf"epoch_0.*{epoch}.png is missing; there are those of the epochs 0, 1, 2, 3\."
        ):
            load_run(folder).grid(epoch)


@pytest.mark.parametrize("name", ["x" * 300, "a/" * 3000])
def test_a_name_that_is_too_long_gets_a_sentence(name, tmp_path):
    with pytest.raises(RunError, match="the name is longer than this system allows"):
        train(tiny.config(), tmp_path / name, images=tiny.images(), progress=False)
