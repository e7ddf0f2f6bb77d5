"""What is to be run: entries, a TrainConfig each; read from a TOML file, kept as study.json in the study's folder."""

import contextlib
import os
import re
import tempfile
import tomllib
from collections import Counter
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from labutils.engine.files import said_in_a_sentence
from labutils.engine.paths import expanded
from labutils.runs import RunError, read_json, write_json
from labutils.training import TrainConfig

MOST_SEEDS, MOST_EPOCHS, MOST_SAMPLES, MOST_BYTES = 1000, 10**6, 100_000, 10**6  # more would never end
SHIPPED = Path(__file__).parents[1] / "assets" / "study"


@dataclass(frozen=True)
class Entry:
    """A row of a study: a config to be trained with the seeds 0, 1, ..., and the epochs that are scored."""

    name: str
    config: TrainConfig
    seeds: int = 5
    measure: tuple[int, ...] = ()  # epochs; the last one is always measured
    group: str = ""  # for notebooks: rows of a group make a table
    ship_weights: bool | int = False  # of how many seeds, from 0 on, `ship` takes generators; true: of seed 0

    def __post_init__(self):
        epochs_good = isinstance(self.measure, list | tuple) and all(type(e) is int and e > 0 for e in self.measure)
        a_number = "true, false, or for how many seeds"
        checks = {
            "name": (isinstance(self.name, str) and self.slug, "a text with a letter or digit"),
            "seeds": (_whole(self.seeds, MOST_SEEDS), f"a whole number of at least 1, at most {MOST_SEEDS}"),
            "config": (isinstance(self.config, TrainConfig), "a TrainConfig"),
            "measure": (epochs_good, "a list of epochs, whole numbers of at least 1"),
            "group": (isinstance(self.group, str), "a text"),
            "ship_weights": (type(self.ship_weights) is bool or _whole(self.ship_weights, MOST_SEEDS), a_number),
        }
        for key, (good, expected) in checks.items():
            if not good:
                raise ValueError(f"{key} is {getattr(self, key)!r}; expected {expected}.")
        if (last := self.config.epochs) > MOST_EPOCHS:
            raise ValueError(f"epochs is {last}; expected at most {MOST_EPOCHS}.")
        object.__setattr__(self, "measure", tuple(sorted({*(e for e in self.measure if e < last), last})))

    @property
    def slug(self) -> str:
        """The name as that of a folder."""
        return re.sub(r"(?:[^\w.]|_)+", "-", self.name.lower()).strip("-.")

    def place(self, folder: Path, seed: int) -> Path:
        """Where its run with that seed is kept."""
        return folder / self.slug / f"seed={seed}"

    def ships(self, seed: int) -> bool:
        """Whether generators of its run with that seed are shipped."""
        return seed < self.ship_weights


@dataclass(frozen=True)
class Study:
    """Entries, and how many images a score takes."""

    rows: tuple[Entry, ...]
    samples: int = 10_000

    def __post_init__(self):
        if not self.rows:
            raise ValueError('there are no rows; expected tables [rows."a name"].')
        if twice := [slug for slug, count in Counter(entry.slug for entry in self.rows).items() if count > 1]:
            raise ValueError(f"Two rows would be kept in the folder {twice[0]!r}; change letters or digits of a name.")
        if not _whole(self.samples, MOST_SAMPLES):
            most = f"expected a whole number of at least 1, at most {MOST_SAMPLES}"
            raise ValueError(f"samples is {self.samples!r}; {most}.")

    def jobs(self, rows: list[str] | None = None, seeds: int | None = None) -> list[tuple[Entry, int]]:
        """(entry, seed) of each run: seed 0 of all, then seed 1, ..., so that a study stopped early is balanced."""
        if seeds is not None and seeds < 1:
            raise ValueError(f"seeds is {seeds}; expected a whole number of at least 1.")
        if odd := set(rows or ()) - {entry.name for entry in self.rows}:
            raise ValueError(f"There is no row {min(odd)!r}; there are: {'; '.join(row.name for row in self.rows)}.")
        return [
            (entry, seed)
            for seed in range(max(entry.seeds for entry in self.rows))
            for entry in self.rows
            if seed < min(entry.seeds, seeds or entry.seeds) and (not rows or entry.name in rows)
        ]


def load_study(path: str | Path | None = None) -> Study:
    """The study of a TOML file (default: the one that comes with labutils); ValueError says what is wrong with it."""
    path = expanded(path or SHIPPED / "study.toml")
    try:
        if path.exists() and not (path.is_file() and path.stat().st_size < MOST_BYTES):
            raise ValueError(f"{path} is no study; expected a TOML file of less than {MOST_BYTES:,} bytes.")
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}.") from None
    try:
        text = tomllib.loads(content.decode("utf-8-sig").replace("\r\n", "\n"))  # with or without a byte order mark
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not TOML: {error}.") from None
    of_config = [field.name for field in fields(TrainConfig) if field.name != "seed"]
    of_entry = [field.name for field in fields(Entry) if field.name not in ("name", "config")]
    try:
        rows, entries = _table(text, "rows"), []
        _only(text, ["common", "rows", "samples", *of_entry])
        common = _table(text, "common")
        _only(common, of_config, "common: ")
        for name in rows:
            row = _table(rows, name)
            _only(row, of_config + of_entry, f"row {name!r}: ")
            try:
                config = TrainConfig(**common | {key: row[key] for key in of_config if key in row})
                entries.append(Entry(name, config, **{k: v for k, v in (text | row).items() if k in of_entry}))
            except (ValueError, TypeError) as error:
                raise ValueError(f"row {name!r}: {error}") from None
        return Study(tuple(entries), text.get("samples", Study.samples))
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None


def _whole(value: object, most: int) -> bool:
    return type(value) is int and 0 < value <= most


def _table(text: dict, key: str) -> dict:
    if not isinstance(text.get(key, {}), dict):
        raise ValueError(f"{key} is {text[key]!r}; expected a table.")
    return text.get(key, {})


def _only(table: dict, known: list[str], where: str = "") -> None:
    if odd := [key for key in table if key not in known]:
        raise ValueError(f"{where}{odd[0]!r} is unknown; there are {', '.join(known)}.")


def read_study(folder: Path) -> Study:
    """The study that is kept in a folder."""
    if not os.path.isfile(folder / "study.json"):
        raise RunError(f"{folder} is not a study: it has no study.json. `python -m labutils study` makes one.")
    kept = read_json(folder / "study.json")
    try:
        entries = [Entry(**row | {"config": TrainConfig(**row["config"])}) for row in kept["rows"]]
        return Study(tuple(entries), kept["samples"])
    except (KeyError, TypeError, ValueError) as error:
        what = f"{folder / 'study.json'} is of another labutils ({error})"
        raise RunError(f"{what}: start the study there again.") from None


def write_study(study: Study, folder: Path) -> None:
    """Keep a study as study.json; the same one is left as it is: calls for other rows may be at work in the folder."""
    check_writable(folder)
    with said_in_a_sentence(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(RunError):  # none yet, damaged, or of another version
        if read_study(folder) == study:
            return
    write_json(folder / "study.json", asdict(study))


def check_writable(folder: Path) -> None:
    """RunError if a folder, or the one above in which it would be made, cannot be written."""
    with said_in_a_sentence(folder):
        there = next(place for place in (folder, *folder.parents) if place.exists())
        tempfile.TemporaryFile(dir=there).close()
