"""Hand-ins from somebody else's hands: zips, folders and a platform's bulk zip, read within limits and nothing trusted.

A `Source` is where a hand-in lies; `read` gives its content, or raises Unreadable with one sentence for its row.
"""

import contextlib
import hashlib
import io
import json
import os
import re
import stat
import struct
import unicodedata
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

MOST_FILES, MOST_BYTES, MOST_ARCHIVE = 5_000, 200 * 2**20, 200 * 2**20  # a hand-in has some 300 files and 15 MB
MOST_IN_BULK, MOST_PROBLEMS, MOST_CELLS = 20_000, 10, 1_000
WANTED = {  # what is read of a hand-in, and how large it may be; nothing else is unpacked
    r"(manifest|answers|scores)\.json": 4 * 2**20,
    r"notebooks/[^/]+\.ipynb": 32 * 2**20,  # with the pictures that were pasted into it
    r"runs/[^/]+/(config|first_steps)\.json": 2**20,
    r"runs/[^/]+/history\.csv": 4 * 2**20,
    r"runs/[^/]+/samples/epoch_\d{4,6}\.png": 2**20,
    r"runs/[^/]+/generator(_average)?\.safetensors": 64 * 2**20,
}
OTHERS = re.compile(r"^(?!.*\d{6})")  # a name without a student's number
LISTS = re.compile(r"\.(html?|csv|xlsx?|txt)$", re.IGNORECASE)  # what a platform puts beside the hand-ins
JUNK = re.compile(r"(^|/)(__MACOSX|\.DS_Store|Thumbs\.db|desktop\.ini|\.git|\.ipynb_checkpoints|__pycache__)(/|$)")


class Unreadable(ValueError):
    """A hand-in, or a part of it, cannot be read; the message is one sentence."""


@dataclass(frozen=True)
class Source:
    """Where a hand-in lies: a file or folder, or a file within a bulk zip."""

    path: str
    inner: str = ""  # its name in the bulk zip
    problem: str = ""  # why there is nothing to read
    label: str = ""  # its path in the folder of the class

    @property
    def name(self) -> str:
        """What tells it from the others, for people."""
        return self.inner or self.label or Path(self.path).name

    @property
    def key(self) -> str:
        """A name for files of ours, made of letters that any system takes."""
        place = f"{self.label or Path(self.path).name}\n{self.inner}"
        return hashlib.sha256(place.encode("utf8", "replace")).hexdigest()[:16]

    def stamp(self) -> str:
        """Changes whenever the content may have."""
        with contextlib.suppress(OSError):
            paths = [Path(self.path)]
            if paths[0].is_dir():
                paths = sorted(Path(base, name) for base, _, names in os.walk(paths[0]) for name in names)[:MOST_FILES]
            seen = [(str(path), found.st_size, found.st_mtime_ns) for path in paths for found in [path.lstat()]]
            return hashlib.sha256(repr((seen, self.inner, self.problem)).encode("utf8", "replace")).hexdigest()
        return ""


@dataclass
class HandIn:
    """What a hand-in holds, cleaned: texts are texts, and no longer than they may be."""

    manifest: dict
    answers: dict[str, str]
    scores: dict
    notebooks: dict[str, list[dict]]  # name without suffix -> cells of the notebook: type, source, exercise, question
    files: dict[str, bytes] = field(default_factory=dict)  # those of its runs
    problems: list[str] = field(default_factory=list)  # parts that could not be read, a sentence each


def sources(folder: Path, out: Path) -> list[Source]:
    """All hand-ins of a folder, or of a bulk zip; whatever else lies there is one with a problem."""
    if not folder.is_dir():
        return _of_file(folder, folder.name, True)
    here = (path for path in sorted(folder.iterdir()) if not path.name.startswith(".") and not JUNK.search(path.name))
    return [each for path in here if path.resolve() != out.resolve() for each in _of_path(path)]


def _of_path(path: Path) -> list[Source]:
    """The hand-ins that lie in a class's folder under this name; a student's own folder may hold a zip at any depth."""
    if path.is_symlink():
        return [Source(str(path), problem="It is a link, which is not followed.")]
    if not path.is_dir():
        return _of_file(path, path.name) if path.is_file() else [Source(str(path), problem="It is no ordinary file.")]
    inner = [] if (path / "manifest.json").exists() else sorted(
        Path(base, name) for base, _, names in os.walk(path) for name in names if name.lower().endswith(".zip")
    )  # fmt: skip
    named = {each.relative_to(path.parent).as_posix(): each for each in inner[:MOST_FILES] if not each.is_symlink()}
    found = [each for label, zipped in named.items() if not JUNK.search(label) for each in _of_file(zipped, label)]
    return found or [Source(str(path))]


def _of_file(path: Path, label: str, bulk: bool = False) -> list[Source]:
    """The hand-ins in a file: one, or those of a bulk zip, with whoever has something else in it.

    A zip of zips is a bulk zip if it was named as the one to grade, or has no student's number in its own name.
    """
    try:
        with _archive(path.open("rb"), path.stat().st_size, 50 * MOST_ARCHIVE, MOST_IN_BULK) as archive:
            inner, top = _inner(archive)
            if not inner or not (bulk or OTHERS.search(label)):
                return [Source(str(path), label=label)]
            names = [name for info in archive.infolist() if not (name := _name(info)).endswith("/")]
    except (Unreadable, OSError) as error:
        return [Source(str(path), problem=str(error), label=label)]
    others = {}
    for name in names:
        whose, _, rest = name.removeprefix(top).partition("/")
        if not (JUNK.search(name) or (not rest and OTHERS.search(whose) and LISTS.search(whose))):
            others.setdefault(whose, rest or whose)
    for name in inner:
        others.pop(name.removeprefix(top).partition("/")[0], None)
    why = "There is no zip, but {}; expected the zip that `python -m labutils handin` writes."
    found = [Source(str(path), name) for name in inner]
    return found + [Source(str(path), top + whose, why.format(clean(what, 80))) for whose, what in others.items()]


def _inner(archive: zipfile.ZipFile) -> tuple[dict[str, zipfile.ZipInfo], str]:
    """The zips in a zip by their names, none where it is a hand-in itself; and the one folder around everything."""
    names = {name: info for info in archive.infolist() if not JUNK.search(name := _name(info))}
    tops = {name.partition("/")[0] for name in names}
    top = f"{tops.pop()}/" if len(tops) == 1 and all("/" in name for name in names) else ""
    own = names.keys() & {"manifest.json", f"{top}manifest.json"}
    return {} if own else {name: info for name, info in names.items() if name.lower().endswith(".zip")}, top


def _archive(file, size: int, most: int, most_files: int) -> zipfile.ZipFile:
    """A zip whose list of files is short enough to be read at all; Unreadable otherwise."""
    file.seek(0)
    begin = file.read(8)
    if size > most:
        raise Unreadable(f"The file has {size:,} bytes; at most {most:,} are read.")
    if not size:
        raise Unreadable("The file is empty.")
    file.seek(max(0, size - 65_557 - 76))
    before, _, end = file.read().rpartition(b"PK\5\6")
    if not zipfile.is_zipfile(file) or len(end) < 18:
        kinds = {b"Rar!": "a RAR archive", b"7z\xbc\xaf": "a 7z archive", b"%PDF": "a PDF", b"\x1f\x8b": "a gzip file"}
        seen = next((said for magic, said in kinds.items() if begin.startswith(magic)), "no zip, or one cut off")
        raise Unreadable(f"It is {seen}; expected the zip that `python -m labutils handin` writes.")
    count, length = struct.unpack("<6xHI", end[:12])
    if before[-20:-16] == b"PK\6\7":  # a list of more files, which is the one that counts
        count, length = struct.unpack("<QQ", before[-76:-20].rjust(56, b"\xff")[32:48])
    if count > most_files or length > 400 * most_files or count == 0xFFFF:
        raise Unreadable(f"The zip lists {count:,} files or more; at most {most_files:,} are read.")
    try:
        return zipfile.ZipFile(file)
    except Exception as error:  # whatever a parser meets in bytes that are no zip
        raise Unreadable(f"The zip is damaged ({type(error).__name__}).") from None


def _name(info: zipfile.ZipInfo) -> str:
    """A file's name: UTF-8 where the zip says so, else what Windows' Explorer writes in China, GBK."""
    name = info.orig_filename
    if not info.flag_bits & 0x800:
        raw = name.encode("cp437", "replace")
        for encoding in ("utf8", "gbk"):
            with contextlib.suppress(UnicodeDecodeError):
                name = raw.decode(encoding)
                break
    return unicodedata.normalize("NFC", name.replace("\\", "/"))


def _refuse(name: str, mode: int, flags: int = 0, method: int = 0) -> None:
    """Unreadable for an entry that no hand-in of ours has."""
    shown = clean(name, 80)
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in name.split("/") or "\0" in name:
        raise Unreadable(f"The file {shown!r} would lie outside its folder; nothing of the hand-in is read.")
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise Unreadable(f"{shown!r} is a link or no ordinary file; nothing of the hand-in is read.")
    if flags & 1:
        raise Unreadable(f"{shown!r} is encrypted; hand in without a password.")
    if method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Unreadable(f"{shown!r} is packed by a method that no hand-in of the lab has.")


def read(source: Source) -> HandIn:
    """The content of a hand-in; Unreadable says why there is none, OSError what hinders it here."""
    if source.problem:
        raise Unreadable(source.problem)
    path = Path(source.path)
    if path.is_dir():
        return _hand_in(_of_folder(path))
    with path.open("rb") as file:
        size = path.stat().st_size
        if source.inner:
            with _archive(file, size, 50 * MOST_ARCHIVE, MOST_IN_BULK) as bulk:
                info = next(info for info in bulk.infolist() if _name(info) == source.inner)
                _refuse("inner.zip", info.external_attr >> 16, info.flag_bits, info.compress_type)
                content = _bytes(bulk, info, MOST_ARCHIVE)
            file, size = io.BytesIO(content), len(content)
        with _archive(file, size, MOST_ARCHIVE, MOST_FILES) as archive:
            inner, _ = _inner(archive)
            if len(inner) != 1:
                return _hand_in(_of_zip(archive))
            content = _bytes(archive, *inner.values(), MOST_ARCHIVE)  # a hand-in that was packed once more
        with _archive(io.BytesIO(content), len(content), MOST_ARCHIVE, MOST_FILES) as archive:
            return _hand_in(_of_zip(archive))


def _of_zip(archive: zipfile.ZipFile) -> tuple[dict[str, bytes], list[str]]:
    entries, total = {}, 0
    for info in archive.infolist():
        name = _name(info)
        _refuse(name, info.external_attr >> 16, info.flag_bits, info.compress_type)
        total += info.file_size
        if name.endswith("/") or JUNK.search(name):
            continue
        if name.casefold() in {"", *entries}:
            raise Unreadable(f"Two files of the name {clean(name, 80)!r} are in the zip; which one counts is unclear.")
        entries[name.casefold()] = name, info
    if total > MOST_BYTES:
        raise Unreadable(f"Unpacked it would have {total:,} bytes; at most {MOST_BYTES:,} are read.")
    return _wanted({name: (lambda most, i=info: _bytes(archive, i, most)) for name, info in entries.values()})


def _bytes(archive: zipfile.ZipFile, info: zipfile.ZipInfo, most: int) -> bytes:
    """The content of a file in a zip, unpacked no further than it may be large."""
    if info.file_size > most:
        raise Unreadable(f"{clean(_name(info), 80)!r} has {info.file_size:,} bytes; at most {most:,} are read.")
    try:
        with archive.open(info) as file:
            content = file.read(most + 1)
    except Exception as error:  # zlib, checksums, overlapping parts: whatever is wrong
        raise Unreadable(f"{clean(_name(info), 80)!r} is damaged ({type(error).__name__}).") from None
    if len(content) > most:
        raise Unreadable(f"{clean(_name(info), 80)!r} is larger than the zip says.")
    return content


def _of_folder(top: Path) -> tuple[dict[str, bytes], list[str]]:
    found = {}
    for base, folders, names in os.walk(top):
        folders[:] = [name for name in folders if not JUNK.search(name)]
        for path in (Path(base, name) for name in [*names, *folders]):
            mode = path.lstat().st_mode
            name = path.relative_to(top).as_posix()
            _refuse(name, mode)
            if stat.S_ISREG(mode) and not JUNK.search(name):
                found[unicodedata.normalize("NFC", name)] = lambda most, p=path: _limited(p, most)
            if len(found) > MOST_FILES:
                raise Unreadable(f"The folder holds more than {MOST_FILES:,} files.")
    return _wanted(found)


def _limited(path: Path, most: int) -> bytes:
    if (size := path.stat().st_size) > most:
        raise Unreadable(f"{path.name!r} has {size:,} bytes; at most {most:,} are read.")
    return path.read_bytes()


def _wanted(files: dict) -> tuple[dict[str, bytes], list[str]]:
    """What is to be read, by name, and sentences about what cannot be; folders around the hand-in are taken off."""
    tops = [name.removesuffix("manifest.json") for name in files if f"/{name}".endswith("/manifest.json")]
    around = {f"{name.partition('/')[0]}/" for name in files}
    top = min(tops, key=len, default=around.pop() if len(around) == 1 else "")
    kept, problems = {}, []
    for name, how in ((name.removeprefix(top), how) for name, how in files.items() if name.startswith(top)):
        most = next((most for pattern, most in WANTED.items() if re.fullmatch(pattern, name)), 0)
        if most:
            try:
                kept[name] = how(most)
            except Unreadable as error:
                problems.append(str(error))
    if sum(map(len, kept.values())) > MOST_BYTES:
        raise Unreadable(f"It holds more than {MOST_BYTES:,} bytes.")
    return kept, problems


def _hand_in(found: tuple[dict[str, bytes], list[str]]) -> HandIn:
    files, problems = found
    parts = {}
    for name in ("manifest", "answers", "scores"):
        try:
            parts[name] = parsed(files.pop(f"{name}.json", None), f"{name}.json")
        except Unreadable as error:
            problems.append(str(error))
            parts[name] = {}
    notebooks = {}
    for name in sorted(name for name in files if name.endswith(".ipynb")):
        try:
            notebooks[clean(Path(name).stem, 60)] = _cells(parsed(files.pop(name), name), name)
        except Unreadable as error:
            problems.append(str(error))
    if not parts["manifest"] and not notebooks and not files:
        raise Unreadable(f"It holds nothing of a hand-in: {problems[0]}")
    answers = {cell["question"]: cell["source"] for cells in notebooks.values() for cell in cells if cell["question"]}
    answers |= {key: value for key, value in parts["answers"].items() if isinstance(value, str)}
    answers = {clean(key, 12): clean(value, 20_000, lines=True) for key, value in list(answers.items())[:300]}
    said = {key: value if isinstance(value, dict) else clean(value, 120) for key, value in parts["manifest"].items()}
    if len(problems) > MOST_PROBLEMS:
        problems[MOST_PROBLEMS:] = [f"{len(problems) - MOST_PROBLEMS} further parts cannot be read."]
    return HandIn(said, answers, parts["scores"], notebooks, files, problems)


def parsed(content: bytes | None, name: str) -> dict:
    """A JSON object; Unreadable if it is anything else, too deep, or not there."""
    if content is None:
        raise Unreadable(f"{name} is missing.")
    try:
        value = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError, MemoryError) as error:
        raise Unreadable(f"{clean(name, 80)} is no JSON ({type(error).__name__}).") from None
    if not isinstance(value, dict):
        raise Unreadable(f"{clean(name, 80)} holds no JSON object.")
    return value


def _cells(notebook: dict, name: str) -> list[dict]:
    cells = notebook.get("cells")
    if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells) or len(cells) > MOST_CELLS:
        raise Unreadable(f"{clean(name, 80)} is not a notebook, or has more than {MOST_CELLS:,} cells.")
    kept = []
    for cell in cells:
        source, about = cell.get("source", ""), cell.get("metadata")
        about = about if isinstance(about, dict) else {}
        source = "".join(map(str, source)) if isinstance(source, list) else str(source)
        marks = {key: str(about[key])[:40] if about.get(key) else "" for key in ("exercise", "question")}
        kept.append({"type": str(cell.get("cell_type"))[:10], "source": source[:100_000]} | marks)
    return kept


def clean(text: object, most: int, lines: bool = False) -> str:
    """A text of at most so many characters, without control characters and what turns the direction of writing."""
    kept = "".join(
        c if c.isprintable() or (lines and c in "\n\t") or unicodedata.category(c) in ("Zs", "Co") else " "
        for c in str(text)[: 4 * most].encode("utf8", "replace").decode("utf8")
    )
    return kept.strip()[:most]
