"""One run on disk: written whole or not at all, checked when read, never pickle; and one writer at a time.

runs/<name>/ holds state_even.safetensors and state_odd.safetensors: all that an exact resume needs, of the last two
epochs. The rest is made from them, for whoever reads the run: config.json, history.csv (a row an epoch), the networks
as safetensors, samples/*.png (the 64 fixed noise vectors).
"""

import contextlib
import errno
import hashlib
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from filelock import FileLock, Timeout
from PIL import Image
from torch import Tensor, nn

from labutils.models import MODELS, build

FORMAT = 1  # of the folder; a later labutils that reads or writes another one raises it
GRID = (242, 242)  # pixels of a sample grid: 8 x 8 digits of 28 x 28 with 2 between them
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
STATES = ("state_even.safetensors", "state_odd.safetensors")  # by the number of the epoch: a save leaves the last one
MAX_Z_DIM = 10_000
AGAIN = "Resume the run to write it again, or copy it from where the run came."
NEEDED = {  # what reading or resuming a run takes from config.json
    "train": ("model", "z_dim", "epochs"),
    "data": ("images", "sha256"),
    "machine": ("device", "threads", "precision", "why"),
}


class RunError(RuntimeError):
    """A run cannot be read or written; the message says which file, what was found and what to do."""


@dataclass
class Run:
    """A run: its folder, config.json as a dictionary, and the history, one dictionary an epoch."""

    folder: Path
    config: dict
    history: list[dict] = field(default_factory=list)
    interrupted: bool = False

    @property
    def epochs(self) -> int:
        """How many epochs are finished."""
        return len(self.history)

    def generator(self, averaged: bool | None = None) -> nn.Module:
        """The trained generator, in eval mode on the CPU; with TrainConfig.ema its average, unless `averaged=False`."""
        averaged = bool(self.config["train"].get("ema")) if averaged is None else averaged
        return self._network("generator_average" if averaged else "generator")

    def discriminator(self) -> nn.Module:
        """The trained discriminator, in eval mode on the CPU."""
        return self._network("discriminator")

    def sample_epochs(self) -> list[int]:
        """The epochs whose sample grid is on disk; 0 is before training."""
        numbers = (path.stem.removeprefix("epoch_") for path in (self.folder / "samples").glob("epoch_*.png"))
        return sorted(int(number) for number in numbers if number.isdecimal())

    def grid(self, epoch: int) -> Image.Image:
        """The picture of 64 samples after `epoch`, 8 x 8 digits, grey."""
        path = self.folder / "samples" / f"epoch_{epoch:04d}.png"
        content = _read(path)
        try:  # PNG alone: for some formats Pillow starts other programs
            Image.open(io.BytesIO(content), formats=["PNG"]).verify()  # the checksum of each part
            image = Image.open(io.BytesIO(content), formats=["PNG"])
            if (image.mode, image.size) != ("L", GRID) or not content.endswith(PNG_END):
                raise ValueError(f"{image.mode} {image.size} in place of L {GRID}, or cut off")
            image.load()
            return image
        except Exception as error:
            raise RunError(f"{path} is damaged ({error}). Delete it; the rest of the run does not need it.") from None

    def _network(self, name: str) -> nn.Module:
        path = self.folder / f"{name}.safetensors"
        tensors, _ = read_tensors(path)
        tensors = {k: v.float() if v.dtype == torch.float16 else v for k, v in tensors.items()}  # kept at half the size
        train = self.config["train"]
        options = {k: train[k] for k in ("discriminator", "batch_norm", "spectral_norm") if k in train}
        try:
            with torch.device("meta"):  # takes no memory and no random number, whatever the config claims
                pair = build(train["model"], train["z_dim"], "default", **options)
        except (ValueError, TypeError) as error:
            raise RunError(f"{self.folder / 'config.json'} describes no network of labutils: {error}") from None
        network = pair[name == "discriminator"]
        expected = {key: f"{value.dtype} {tuple(value.shape)}" for key, value in network.state_dict().items()}
        found = {key: f"{value.dtype} {tuple(value.shape)}" for key, value in tensors.items()}
        if expected != found:
            odd = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))[0]
            raise RunError(
                f"{path} does not fit config.json (model {train['model']!r}): {odd} is {found.get(odd, 'missing')}, "
                f"expected {expected.get(odd, 'nothing')}. One of the two comes from another run."
            )
        network.load_state_dict(tensors, assign=True)
        return network.eval()


def runs_folder() -> Path:
    """Where runs are kept: LABUTILS_RUNS, or `runs` at the top of the lab's folder, or `runs` in the working folder."""
    if os.environ.get("LABUTILS_RUNS"):
        return Path(os.environ["LABUTILS_RUNS"]).expanduser()
    top = Path(__file__).parents[1]
    return (top if (top / "notebooks").is_dir() else Path.cwd()) / "runs"


def shipped(name: str) -> Path:
    """The folder of a run that comes with labutils, for `load_run`; RunError lists them if there is no such one."""
    folder = Path(__file__).parent / "assets" / "runs" / name
    if not (folder / "config.json").is_file():
        raise RunError(f"No run {name!r} comes with labutils; there are: {_names(folder.parent)}.")
    return folder


def load_run(folder: str | Path) -> Run:
    """Read a run by its folder alone.

    Raises:
        RunError: the folder is not a run, comes from another version, or a file is damaged; a sentence says which.
    """
    folder = Path(folder).expanduser()
    if not os.path.isfile(folder / "config.json"):
        raise RunError(f"{folder} is not a run: no config.json can be found in it. Runs here: {_names(folder.parent)}.")
    config = _checked(read_json(folder / "config.json"), folder / "config.json")
    return Run(folder, config, _read_history(folder / "history.csv"))


@contextlib.contextmanager
def one_writer(folder: Path, lock: Path | None = None, timeout: float = 0) -> Iterator[None]:
    """Hold the run for one training; the operating system lets go of it when the process ends, however it ends.

    `lock` is the file to hold, <folder>/.lock if not given; `timeout` the seconds to wait for another one to let go.
    """
    lock = FileLock(lock or folder / ".lock", is_singleton=False)
    with _told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=timeout)
        except Timeout:
            raise RunError(
                f"Another training is writing {folder}; wait for it, stop it, or train into another folder."
            ) from None
    try:
        yield
    finally:
        lock.release()


def save_epoch(run: Run, networks: dict[str, nn.Module], state: dict[str, Tensor], grid: Tensor) -> None:
    """Write an epoch: first its state, which alone decides where a resume goes on, then what can be made from it.

    Args:
        networks: {"generator": ..., "discriminator": ...}, and "generator_average" if there is one.
        state: whatever else an exact resume needs, as named tensors.
        grid: uint8 (H, W), the samples of the fixed noise.
    """
    weights = {f"{name}.{key}": value for name, net in networks.items() for key, value in net.state_dict().items()}
    about = {"config": run.config, "history": run.history}
    write_tensors(run.folder / STATES[run.epochs % 2], weights | state, about)
    publish(run, networks, grid)


def publish(run: Run, networks: dict[str, nn.Module], grid: Tensor) -> None:
    """Write what a reader of the run wants: config.json, the networks, history.csv and this epoch's sample grid."""
    write_json(run.folder / "config.json", run.config)
    for name, network in networks.items():
        write_tensors(run.folder / f"{name}.safetensors", network.state_dict(), {"epoch": run.epochs})
    write_history(run.folder / "history.csv", run.history)
    picture = io.BytesIO()
    Image.fromarray(grid.numpy()).save(picture, "PNG")
    write_whole(run.folder / "samples" / f"epoch_{run.epochs:04d}.png", picture.getvalue())


def last_state(folder: Path) -> tuple[dict[str, Tensor], dict, list[dict], list[str]]:
    """The newest good state of a run: (tensors, config, history, sentences about files that were not good)."""
    good, complaints = [], []
    for path in (folder / name for name in STATES if (folder / name).exists()):
        try:
            tensors, about = read_tensors(path)
            if not about.keys() >= {"config", "history"}:
                raise RunError(f"{path} is another file, not the state of a run.")
            good.append((tensors, _checked(about["config"], path), about["history"], complaints))
        except RunError as error:
            complaints.append(str(error))
    if not good:
        found = " ".join(complaints) or f"It has neither {' nor '.join(STATES)}."
        raise RunError(f"{folder} cannot be resumed. {found} Train into another folder.")
    return max(good, key=lambda state: len(state[2]))


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file by `content`, whole or not at all: temporary file, fsync, rename, fsync of the folder."""
    temporary = path.with_name(f".{path.name}.new")
    with _told(path):
        try:
            path.parent.mkdir(exist_ok=True)
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    with contextlib.suppress(OSError):  # Windows opens no folder; elsewhere a power cut could undo the rename
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_tensors(path: Path, tensors: dict[str, Tensor], about: dict) -> None:
    """A safetensors file that carries `about` and a SHA-256 of it all in its header."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    text = json.dumps(about)
    signed = json.dumps({"about": text, "sha256": digest(tensors, text)})  # one key: several have no fixed order
    write_whole(path, safetensors.torch.save(tensors, {"labutils": signed}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict]:
    """The tensors and the `about` of a file from `write_tensors`; RunError if it is damaged or of another kind."""
    content = _read(path)
    try:  # the parsers raise whatever they meet in a file that is not what it should be
        tensors = safetensors.torch.load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        signed = json.loads(header["__metadata__"]["labutils"])
        good = signed["sha256"] == digest(tensors, signed["about"])
        about = dict(json.loads(signed["about"]))
    except Exception as error:
        raise RunError(f"{path} is damaged or not a file of labutils ({type(error).__name__}: {error}).") from None
    if not good:
        raise RunError(f"{path} is damaged: its content does not match the SHA-256 in its header.")
    return tensors, about


def write_json(path: Path, content: dict) -> None:
    """A JSON file with a SHA-256 of its own content under the key "sha256"."""
    signed = content | {"sha256": hashlib.sha256(json.dumps(content, indent=2).encode()).hexdigest()}
    write_whole(path, (json.dumps(signed, indent=2) + "\n").encode())


def read_json(path: Path) -> dict:
    """The content of a file from `write_json`; RunError if it was changed since."""
    raw = _read(path).replace(b"\r\n", b"\n")
    try:
        signed = dict(json.loads(raw))
        content = {key: value for key, value in signed.items() if key != "sha256"}
        good = (json.dumps(signed, indent=2) + "\n").encode() == raw
        good &= signed["sha256"] == hashlib.sha256(json.dumps(content, indent=2).encode()).hexdigest()
    except Exception as error:
        raise RunError(f"{path} is damaged or not a file of labutils ({type(error).__name__}: {error}).") from None
    if not good:
        raise RunError(f"{path} was changed after it was written: its SHA-256 differs. {AGAIN}")
    return content


def write_history(path: Path, history: list[dict]) -> None:
    """A CSV file, a line an epoch, with a SHA-256 of the others as its last line."""
    columns = list(history[0]) if history else ["epoch"]
    text = "\n".join([",".join(columns), *(",".join(repr(row[c]) for c in columns) for row in history)]) + "\n"
    write_whole(path, f"{text}# sha256 {hashlib.sha256(text.encode()).hexdigest()}\n".encode())


def _read_history(path: Path) -> list[dict]:
    raw = _read(path).replace(b"\r\n", b"\n")
    text, _, signature = raw.rpartition(b"# sha256 ")
    if signature != hashlib.sha256(text).hexdigest().encode() + b"\n":
        raise RunError(f"{path} was changed after it was written: its SHA-256 differs. {AGAIN}")
    try:
        columns, *rows = (line.split(",") for line in text.decode().splitlines())
        return [{c: (int if c == "epoch" else float)(v) for c, v in zip(columns, row, strict=True)} for row in rows]
    except ValueError as error:
        raise RunError(f"{path} is not a history of labutils ({error}). {AGAIN}") from None


def digest(tensors: dict[str, Tensor], about: str = "") -> str:
    """SHA-256 over names, types, shapes and bytes, and over the text beside them."""
    sha = hashlib.sha256(about.encode())
    for key in sorted(tensors):
        sha.update(f"{key} {tensors[key].dtype} {tuple(tensors[key].shape)}".encode())
        sha.update(tensors[key].detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return sha.hexdigest()


def _checked(config: dict, path: Path) -> dict:
    """A config as read from `path`, of this format and with all that is needed; RunError otherwise."""
    if config.get("format") != FORMAT:
        found = config.get("format", "none")
        raise RunError(f"{path} has run format {found}, this labutils reads format {FORMAT}: use the version it names.")
    parts = {part: config.get(part) if isinstance(config.get(part), dict) else {} for part in NEEDED}
    missing = [f"{part}.{key}" for part, keys in NEEDED.items() for key in keys if key not in parts[part]]
    if missing:
        raise RunError(f"{path} lacks {', '.join(missing)}: it is not from a training of labutils.")
    model, z_dim = parts["train"]["model"], parts["train"]["z_dim"]
    if model not in list(MODELS):
        raise RunError(f"{path} asks for the model {model!r}; labutils has {', '.join(MODELS)}.")
    if type(z_dim) is not int or not 1 <= z_dim <= MAX_Z_DIM:
        raise RunError(f"{path} asks for z_dim {z_dim!r}; expected a whole number from 1 to {MAX_Z_DIM}.")
    return config


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise RunError(f"{path} is missing. {AGAIN}") from None
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}.") from None


def _names(folder: Path) -> str:
    return ", ".join(sorted(p.parent.name for p in folder.glob("*/config.json"))[:12]) or "none"


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what an operating system says about a failed write into a sentence."""
    try:
        yield
    except OSError as error:
        what = {
            errno.ENOSPC: "the disk is full; free some space",
            errno.EDQUOT: "your disk quota is used up; free some space",
            errno.EFBIG: "the file would be larger than this system's limit (ulimit -f)",
            errno.EROFS: "the file system is read-only; set LABUTILS_RUNS to a folder that can be written",
            errno.EACCES: "no permission, or another program holds it; set LABUTILS_RUNS to a folder of your own",
            errno.EEXIST: "a file has that name; choose another folder",
            errno.ENOTDIR: "a file stands where a folder should; choose another folder",
        }.get(error.errno, error.strerror or str(error))
        raise RunError(f"Cannot write {path}: {what}. What was saved before is still good.") from None
