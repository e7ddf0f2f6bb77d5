"""Chinese in figures: a font that has it is registered from where it lies, since matplotlib's own list may be older."""

import re
import warnings
from pathlib import Path

import matplotlib
from matplotlib import font_manager

CJK = "wqy|noto.*(cjk|sc)|sourcehan|simhei|simsun|msyh|pingfang|stheiti|songti|hiragino|droidsansfallback|uming|ukai"
INSTALL = (
    "No font here has Chinese characters, so figures show boxes in their place. Install one: on Debian or Ubuntu "
    "`sudo apt install fonts-wqy-microhei`, elsewhere Noto Sans CJK (https://fonts.google.com/noto); then restart."
)


def use_cjk(folders: list[str] | None = None) -> str | None:
    """Let figures fall back to a font with Chinese characters, wherever the first has none -> its name, or None.

    Where there is no such font, the first figure that would need one says in a sentence what to install.
    """
    paths = sorted(font_manager.findSystemFonts(folders), key=lambda path: ("regular" not in path.lower(), path))
    for path in (path for path in paths if re.search(CJK, Path(path).name.lower())):
        try:
            font_manager.fontManager.addfont(path)
            name = font_manager.get_font(path).family_name
        except (OSError, RuntimeError):  # damaged, or of a kind that matplotlib cannot read
            continue
        families = matplotlib.rcParams["font.family"]
        matplotlib.rcParams["font.family"] = [*(family for family in families if family != name), name]
        return name
    _say_once()
    return None


def _say_once() -> None:
    """In place of matplotlib's warning for each Chinese character without a glyph: one sentence."""
    told, before = [], warnings.showwarning

    def show(message, *rest, **named):
        missing = re.match(r"Glyph (\d+) .*missing from", str(message))
        if not missing or int(missing[1]) < 0x2E80:
            return before(message, *rest, **named)
        if not told:
            told.append(print(INSTALL))

    warnings.showwarning = show


use_cjk()
