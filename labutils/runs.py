"""One run on disk: written whole or not at all, checked when read, never pickle; and one writer at a time.

runs/<name>/ holds config.json, history.csv (a row an epoch), samples/*.png (the 64 fixed noise vectors), the networks as
safetensors, and state.safetensors with previous.safetensors: all that an exact resume needs, of the last two epochs.
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

    def generator(self) -> nn.Module:
        """The trained generator, in eval mode on the CPU."""
        return self._network("generator")

    def discriminator(self) -> nn.Module:
        """The trained discriminator, in eval mode on the CPU."""
        return self._network("discriminator")

    def sample_epochs(self) -> list[int]:
        """The epochs whose sample grid is on disk; 0 is before training."""
        return sorted(int(p.stem.rpartition("_")[2]) for p in (self.folder / "samples").glob("epoch_????.png"))

    def grid(self, epoch: int) -> Image.Image:
        """The picture of 64 samples after `epoch`, 8 x 8 digits, grey."""
        path = self.folder / "samples" / f"epoch_{epoch:04d}.png"
        try:
            image = Image.open(io.BytesIO(_read(path)))
            image.load()
            return image
        except (OSError, SyntaxError, ValueError) as error:
            raise RunError(f"{path} is damaged ({error}). Delete it; the rest of the run does not need it.") from None

    def _network(self, name: str) -> nn.Module:
        path = self.folder / f"{name}.safetensors"
        tensors, _ = read_tensors(path)
        train = self.config["train"]
        with torch.device("meta"):  # takes no memory and no random number, whatever the config claims
            pair = build(train["model"], train["z_dim"], "default")
        network = pair[name == "discriminator"]
        expected = {key: tuple(value.shape) for key, value in network.state_dict().items()}
        found = {key: tuple(value.shape) for key, value in tensors.items()}
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


def load_run(folder: str | Path) -> Run:
    """Read a run by its folder alone.

    Raises:
        RunError: the folder is not a run, comes from another version, or a file is damaged; a sentence says which.
    """
    folder = Path(folder)
    return Run(folder, load_config(folder), _read_history(folder / "history.csv"))


def save_config(folder: Path, config: dict) -> None:
    """Write config.json."""
    with _told(folder):
        write_json(folder / "config.json", config)


def load_config(folder: Path) -> dict:
    """Read and check config.json; RunError as for `load_run`."""
    if not (folder / "config.json").is_file():
        raise RunError(f"{folder} is not a run: it has no config.json. Runs here: {_names(folder.parent)}.")
    config = read_json(folder / "config.json")
    if config.get("format") != FORMAT:
        found = config.get("format", "no format")
        raise RunError(
            f"{folder} has run format {found}, this labutils reads format {FORMAT}: read it with its own version."
        )
    train = config.get("train")
    missing = [key for key in ("train", "data", "machine") if not isinstance(config.get(key), dict)]
    if missing:
        raise RunError(f"{folder / 'config.json'} lacks {', '.join(missing)}: it is not from labutils' training.")
    if train.get("model") not in MODELS or type(train.get("z_dim")) is not int:
        raise RunError(f"{folder / 'config.json'} does not describe a run of the models {', '.join(MODELS)}.")
    if not 1 <= train["z_dim"] <= 10_000:
        raise RunError(f"{folder / 'config.json'} asks for z_dim {train['z_dim']}; expected 1 to 10,000.")
    return config


@contextlib.contextmanager
def one_writer(folder: Path) -> Iterator[None]:
    """Hold the run for this process; the operating system lets go of it when the process ends, however it ends."""
    with _told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunError(
                f"Another process is writing {folder}; wait for it, stop it, or train into another folder."
            ) from None
    try:
        yield
    finally:
        lock.release()


def save_epoch(run: Run, networks: dict[str, nn.Module], state: dict[str, Tensor], grid: Tensor) -> None:
    """Write an epoch: first its state, which alone decides where a resume goes on, then what can be made from it.

    Args:
        networks: {"generator": ..., "discriminator": ...}.
        state: whatever else an exact resume needs, as named tensors.
        grid: uint8 (H, W), the samples of the fixed noise.
    """
    with _told(run.folder):
        (run.folder / "samples").mkdir(exist_ok=True)
        weights = {f"{name}.{key}": value for name, net in networks.items() for key, value in net.state_dict().items()}
        new, state_path = run.folder / ".state.new", run.folder / "state.safetensors"
        write_tensors(new, weights | state, {"epoch": run.epochs, "history": run.history})
        if state_path.exists():
            os.replace(state_path, run.folder / "previous.safetensors")
        os.replace(new, state_path)
        publish(run, networks, grid)


def publish(run: Run, networks: dict[str, nn.Module], grid: Tensor) -> None:
    """Write what a reader of the run wants: both networks, history.csv and this epoch's sample grid."""
    for name, network in networks.items():
        write_tensors(run.folder / f"{name}.safetensors", network.state_dict(), {"epoch": run.epochs})
    _write_history(run.folder / "history.csv", run.history)
    picture = io.BytesIO()
    Image.fromarray(grid.numpy()).save(picture, "PNG")
    write_whole(run.folder / "samples" / f"epoch_{run.epochs:04d}.png", picture.getvalue())


def last_state(folder: Path) -> tuple[dict[str, Tensor], list[dict], list[str]]:
    """The newest good state of a run: (tensors, history, sentences about files that were not good)."""
    complaints = []
    for name in ("state.safetensors", "previous.safetensors"):
        if not (folder / name).exists():
            continue
        try:
            tensors, about = read_tensors(folder / name)
            return tensors, about["history"], complaints
        except RunError as error:
            complaints.append(str(error))
    detail = " ".join(complaints) or "It holds no state.safetensors."
    raise RunError(f"{folder} cannot be resumed. {detail} Move the folder away and train again.")


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file by `content`, whole or not at all: temporary file, fsync, rename."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def write_tensors(path: Path, tensors: dict[str, Tensor], about: dict) -> None:
    """A safetensors file that carries `about` and a SHA-256 of it all in its header."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    text = json.dumps(about)
    signed = json.dumps({"about": text, "sha256": digest(tensors, text)})  # one key: several have no fixed order
    write_whole(path, safetensors.torch.save(tensors, {"labutils": signed}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict]:
    """The tensors and the `about` of a file from `write_tensors`; RunError if it is damaged or of another kind."""
    content = _read(path)
    try:
        tensors = safetensors.torch.load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        signed = json.loads(header["__metadata__"]["labutils"])
        about = signed["about"]
        good = signed["sha256"] == digest(tensors, about)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, RecursionError, MemoryError) as error:
        raise RunError(f"{path} is damaged or not a file of labutils ({type(error).__name__}: {error}).") from None
    if not good:
        raise RunError(f"{path} is damaged: its content does not match the SHA-256 in its header.")
    return tensors, json.loads(about)


def write_json(path: Path, content: dict) -> None:
    """A JSON file with a SHA-256 of its own content under the key "sha256"."""
    text = json.dumps(content, indent=2)
    signed = content | {"sha256": hashlib.sha256(text.encode()).hexdigest()}
    write_whole(path, (json.dumps(signed, indent=2) + "\n").encode())


def read_json(path: Path) -> dict:
    """The content of a file from `write_json`; RunError if it was changed since."""
    try:
        raw = _read(path)
        content = json.loads(raw)
        signature = content.pop("sha256", None)
        text = json.dumps(content, indent=2)
        good = (json.dumps(content | {"sha256": signature}, indent=2) + "\n").encode() == raw.replace(b"\r\n", b"\n")
    except (ValueError, AttributeError, RecursionError) as error:
        raise RunError(f"{path} is damaged or not JSON ({error}).") from None
    if not good or signature != hashlib.sha256(text.encode()).hexdigest():
        raise RunError(f"{path} was changed after it was written: its SHA-256 differs. Restore it, or train again.")
    return content


def _write_history(path: Path, history: list[dict]) -> None:
    columns = list(history[0]) if history else ["epoch"]
    text = "\n".join([",".join(columns), *(",".join(repr(row[c]) for c in columns) for row in history)]) + "\n"
    write_whole(path, f"{text}# sha256 {hashlib.sha256(text.encode()).hexdigest()}\n".encode())


def _read_history(path: Path) -> list[dict]:
    raw = _read(path).replace(b"\r\n", b"\n")
    text, _, signature = raw.rpartition(b"# sha256 ")
    if signature != hashlib.sha256(text).hexdigest().encode() + b"\n":
        raise RunError(
            f"{path} was changed after it was written: its SHA-256 differs. Resume the run to write it again."
        )
    columns, *rows = (line.split(",") for line in text.decode().splitlines())
    return [{c: (int if c == "epoch" else float)(v) for c, v in zip(columns, row, strict=True)} for row in rows]


def digest(tensors: dict[str, Tensor], about: str = "") -> str:
    """SHA-256 over names, types, shapes and bytes, and over the text beside them."""
    sha = hashlib.sha256(about.encode())
    for key in sorted(tensors):
        sha.update(f"{key} {tensors[key].dtype} {tuple(tensors[key].shape)}".encode())
        sha.update(tensors[key].reshape(-1).view(torch.uint8).numpy())
    return sha.hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise RunError(
            f"{path} is missing. Resume the run to write it again, or copy it from where the run came."
        ) from None
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}.") from None


def _names(folder: Path) -> str:
    return ", ".join(sorted(p.parent.name for p in folder.glob("*/config.json"))[:12]) or "none"


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Turn what an operating system says about a failed write into a sentence."""
    try:
        yield
    except OSError as error:
        what = {
            errno.ENOSPC: "the disk is full; free some space",
            errno.EDQUOT: "your disk quota is used up; free some space",
            errno.EFBIG: "the file would be larger than this system's limit (ulimit -f)",
            errno.EROFS: "the file system is read-only; set LABUTILS_RUNS to a folder that can be written",
            errno.EACCES: "there is no permission to write; set LABUTILS_RUNS to a folder of your own",
            errno.EPERM: "there is no permission to write; set LABUTILS_RUNS to a folder of your own",
        }.get(error.errno, error.strerror or str(error))
        raise RunError(
            f"Cannot write {folder}: {what}. What was saved before is still good; go on with resume=True."
        ) from None
