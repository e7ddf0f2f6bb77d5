"""Files in MNIST's own format, IDX (Yann LeCun, Corinna Cortes, Christopher J. C. Burges), plain or packed by gzip."""

import gzip
import hashlib
import math
import mmap
import os
import tempfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor

from labutils.engine.files import not_ordinary

TYPES = {8: "uint8", 9: "int8", 11: "int16", 12: "int32", 13: "float32", 14: "float64"}  # by an IDX file's third byte
LARGEST = 2**30  # bytes of a file that is read: twenty times MNIST's largest
_made: dict[Path, tuple[str, Callable[[], Tensor]]] = {}  # file -> its SHA-256, and what gives the tensor made of it


class DataError(ValueError):
    """A data file is missing, damaged or not in MNIST's format; the message says which and what to do."""


def _spelled(folder: Path, name: str) -> Path:
    """The file `name` in a folder, by whichever of its names it is there: -idx or .idx, with .gz or without."""
    names = [spelling + end for spelling in (name, name.replace("-idx", ".idx")) for end in ("", ".gz")]
    isfile = os.path.isfile  # False where Path's raises: no permission, a name too long
    return next((folder / one for one in names if isfile(folder / one)), folder / f"{name}.gz")


def raw_folder(root: Path, images: str, splits: Iterable[str]) -> Path:
    """The folder below `root` that holds the file `images`, plain or .gz, in torchvision's layout or directly.

    One folder for all `splits`, so that training and test images are never of two data sets.
    """
    others = sorted(root.glob("*/raw")) if os.path.isdir(root) else []
    candidates = [root / "MNIST" / "raw", root, root / "raw", *others]
    names = [split + images[images.index("-") :] for split in splits]
    found = [c for c in dict.fromkeys(candidates) if any(os.path.isfile(_spelled(c, name)) for name in names)]
    if not found or not os.path.isfile(_spelled(found[0], images)):
        there = {p.name for c in candidates if os.path.isdir(c) for p in c.glob("*idx3*")}
        other = sorted(there - {name + end for name in names for end in ("", ".gz")})[:6]
        rename = f"There are {', '.join(other)}: rename what you want to use; unpack a .zip. " * bool(other)
        raise DataError(
            f"No {images} (plain or .gz) below {[*found, root][0]}; expected torchvision's layout, MNIST/raw/{images}. "
            f"{rename}Leave root and LABUTILS_DATA unset to use the copy inside the package."
        )
    if len(found) > 1 and found[0] not in candidates[:3]:
        names = ", ".join(c.parent.name for c in found)
        raise DataError(f"{root} holds several data sets ({names}); name one of their folders as root.")
    return found[0]


def read_idx(folder: Path, name: str, dims: int, checked: bool, make: Callable[[Tensor], Tensor]) -> Tensor:
    """What `make` makes of an IDX file (magic, sizes, then uint8 values), a uint8 tensor of `dims` dimensions.

    It is made once a process, as long as the file has the same bytes: all who ask share its memory, see `_shared`.
    `checked`: the file must have the SHA-256 that the file SHA256SUMS beside it says.
    """
    path = _spelled(folder, name)
    advice = "Reinstall labutils." if checked else "Copy the file again from where it came."
    try:
        if odd := not_ordinary(path, LARGEST):
            raise DataError(f"{path} is {odd}. {advice}")
        raw = path.read_bytes()
        sha256 = hashlib.sha256(raw).hexdigest()
        sums = (folder / "SHA256SUMS").read_text("utf8").splitlines() if checked else [f"{sha256}  {path.name}"]
    except OSError as error:
        raise DataError(f"The data file {error.filename or path} cannot be read ({error.strerror}). {advice}") from None
    if f"{sha256}  {path.name}" not in sums:
        raise DataError(f"{path} is not the file that labutils was made with: its SHA-256 differs. {advice}")
    with torch.inference_mode(False):  # where it is on, the tensor could not be trained on afterwards
        if path not in _made or _made[path][0] != sha256:
            _made[path] = sha256, _shared(make(_values(path, raw, dims, advice)))
        return _made[path][1]()


def _shared(tensor: Tensor) -> Callable[[], Tensor]:
    """A function that gives these values as a tensor, always in the same memory: copy on write, by the system.

    Who writes into one gets pages of his own, and nobody else sees it.
    """
    shape, dtype = tensor.shape, tensor.dtype
    try:
        memfd = getattr(os, "memfd_create", None)  # memory that looks like a file; without it, a file that has no name
        file = open(memfd("labutils"), "w+b") if memfd else tempfile.TemporaryFile()  # noqa: SIM115
        file.write(tensor.numpy())
        file.flush()
    except OSError:
        return tensor.clone  # no room: then each has a copy
    return lambda: torch.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY), dtype=dtype).reshape(shape)


def _values(path: Path, raw: bytes, dims: int, advice: str) -> Tensor:
    try:  # whatever the file is called
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is not a complete gzip file ({error}). {advice}") from None
    header = 4 + 4 * dims
    if len(raw) < header or raw[:4] != bytes([0, 0, 8, dims]):
        found, do = f"it starts with {raw[:4]!r}", "It is a .zip: unpack it. Else: " * (raw[:2] == b"PK")
        if len(raw) >= 4 and raw[:2] == b"\0\0" and raw[2] in TYPES and raw[2:4] != bytes([8, dims]):
            found, do = f"it holds {TYPES[raw[2]]} in {raw[3]}-D", "If it is the right file, convert it. Else: "
        raise DataError(f"{path} is not an IDX file of uint8 in {dims}-D: {found}. {do}{advice}")
    shape = [int.from_bytes(raw[i : i + 4], "big") for i in range(4, header, 4)]
    if len(raw) - header != math.prod(shape) or 0 in shape:
        sizes = " x ".join(map(str, shape))
        raise DataError(f"{path} should hold {sizes} values of one byte but holds {len(raw) - header}. {advice}")
    values = torch.frombuffer(bytearray(raw[header:]), dtype=torch.uint8).reshape(shape)
    low, high = values.aminmax()
    if dims == 3 and high - low < 2:  # black and white as 0 and 1, or nothing at all
        raise DataError(f"{path} has pixels from {low} to {high} only; expected 0, black, to 255, white: scale them.")
    return values
