"""English and Chinese of the report: gettext of the standard library, with a catalogue that is a JSON file."""

import gettext
import json
from pathlib import Path

TEMPLATES = Path(__file__).parent / "templates" / "report"
LANGUAGES = {"en": "en", "zh": "zh-CN"}  # as the command line has them -> as HTML, typst and Word have them


class Catalogue(gettext.NullTranslations):
    """The texts of one language by the English ones; what is not in it stays English."""

    def __init__(self, language: str):
        super().__init__()
        path = TEMPLATES / f"{language}.json"
        self.language = language
        self.texts = json.loads(path.read_text("utf8")) if path.is_file() else {}

    def gettext(self, message: str) -> str:
        return self.texts.get(message, message)
