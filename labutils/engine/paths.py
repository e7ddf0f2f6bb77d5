"""Paths that a user writes; standard library only."""

from pathlib import Path


def expanded(path: str | Path) -> Path:
    """An absolute path, ~ being the home folder; ValueError if ~name is nobody's here, or no path is like that."""
    if "\0" in str(path):
        raise ValueError(f"{str(path)!r} holds a character that no path can have: leave out \\x00.")
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError:
        raise ValueError(f"{path}: nobody here has that home folder. Write the whole path.") from None
    except FileNotFoundError:
        raise ValueError(f"{path}: the folder that you are in was deleted. Go to another, by os.chdir.") from None
