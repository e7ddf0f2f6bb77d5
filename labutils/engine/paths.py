"""Paths that a user writes; standard library only."""

from pathlib import Path


def expanded(path: str | Path) -> Path:
    """An absolute path, ~ being the home folder; ValueError if ~name is nobody's here."""
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError:
        raise ValueError(f"{path}: nobody here has that home folder. Write the whole path.") from None
