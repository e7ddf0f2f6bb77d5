"""Files that are written whole or not at all, signed, and checked when they are read; never pickle."""

import contextlib
import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

REPAIR = "Resume the run to write it again, or copy it from where the run came."


class RunError(RuntimeError):
    """A run cannot be read or written; the message says which file, what was found and what to do."""


def not_ordinary(path: Path, most: int) -> str:
    """What a path is, if it is not a file of at most so many bytes: opening a pipe would hang, a device never end."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        return "a folder" if stat.S_ISDIR(found.st_mode) else "no ordinary file, but a pipe, a device or a socket"
    return f"{found.st_size:,} bytes large, more than any such file has" if found.st_size > most else ""


def refuse_link(path: Path) -> None:
    """RunError if a path is a link: in a folder from somebody's archive it may lead to a file that is none of ours."""
    if path.is_symlink():
        raise RunError(f"{path} is a link to {os.readlink(path)}. Delete the link, or use another folder.")


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file by `content`, whole or not at all: temporary file, fsync, rename, fsync of the folder."""
    temporary = path.with_name(f".{path.name}.new")
    with said_in_a_sentence(path):
        try:
            path.parent.mkdir(exist_ok=True)
            temporary.unlink(missing_ok=True)  # what a kill left over, or a link: never written through
            with temporary.open("xb") as file:
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
    content = read_bytes(path)
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
    raw = read_bytes(path).replace(b"\r\n", b"\n")
    try:
        signed = dict(json.loads(raw))
        content = {key: value for key, value in signed.items() if key != "sha256"}
        good = (json.dumps(signed, indent=2) + "\n").encode() == raw
        good &= signed["sha256"] == hashlib.sha256(json.dumps(content, indent=2).encode()).hexdigest()
    except Exception as error:
        raise RunError(f"{path} is damaged or not a file of labutils ({type(error).__name__}: {error}).") from None
    if not good:
        raise RunError(f"{path} was changed after it was written: its SHA-256 differs. {REPAIR}")
    return content


def write_history(path: Path, history: list[dict]) -> None:
    """A CSV file, a line an epoch, with a SHA-256 of the others as its last line."""
    columns = list(history[0]) if history else ["epoch"]
    text = "\n".join([",".join(columns), *(",".join(repr(row[c]) for c in columns) for row in history)]) + "\n"
    write_whole(path, f"{text}# sha256 {hashlib.sha256(text.encode()).hexdigest()}\n".encode())


def read_history(path: Path) -> list[dict]:
    """The rows of a file from `write_history`; RunError if it was changed since."""
    raw = read_bytes(path).replace(b"\r\n", b"\n")
    text, _, signature = raw.rpartition(b"# sha256 ")
    if signature != hashlib.sha256(text).hexdigest().encode() + b"\n":
        raise RunError(f"{path} was changed after it was written: its SHA-256 differs. {REPAIR}")
    try:
        columns, *rows = (line.split(",") for line in text.decode().splitlines())
        return [{c: (int if c == "epoch" else float)(v) for c, v in zip(columns, row, strict=True)} for row in rows]
    except ValueError as error:
        raise RunError(f"{path} is not a history of labutils ({error}). {REPAIR}") from None


def digest(tensors: dict[str, Tensor], about: str = "") -> str:
    """SHA-256 over names, types, shapes and bytes, and over the text beside them."""
    sha = hashlib.sha256(about.encode())
    for key in sorted(tensors):
        sha.update(f"{key} {tensors[key].dtype} {tuple(tensors[key].shape)}".encode())
        sha.update(tensors[key].detach().cpu().resolve_neg().contiguous().reshape(-1).view(torch.uint8).numpy())
    return sha.hexdigest()


def read_bytes(path: Path, most: int = 2**30) -> bytes:
    """The content of an ordinary file of `most` bytes at most; RunError if it cannot be had."""
    try:
        if odd := not_ordinary(path, most):
            raise RunError(f"{path} is {odd}. {REPAIR}")
        return path.read_bytes()
    except FileNotFoundError:
        raise RunError(f"{path} is missing. {REPAIR}") from None
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}.") from None


@contextlib.contextmanager
def said_in_a_sentence(path: Path) -> Iterator[None]:
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
            errno.ENAMETOOLONG: "the name is longer than this system allows; choose another folder with a shorter one",
            errno.ENOTDIR: "a file stands where a folder should; choose another folder",
        }.get(error.errno, error.strerror or str(error))
        raise RunError(f"Cannot write {path}: {what}. What was saved before is still good.") from None
