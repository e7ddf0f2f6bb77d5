"""A report's text and figures as HTML, PDF and Word: mistune makes the first, pandoc and typst the others.

Answers are somebody's text: HTML, TeX and typst in them are shown and never run, links lead to the web alone, and
pictures come from the working copy alone. Each answer is parsed by itself, so that none can swallow what follows.
"""

from __future__ import annotations

import base64
import html
import io
import json
import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import jinja2
import mistune
from math_core import LatexError, LatexToMathML
from PIL import Image

from labutils.course.material import Question
from labutils.course.report_figures import CHINESE, Picture, font_folder
from labutils.course.translation import LANGUAGES, TEMPLATES, Catalogue

NAMES = ("report.html", "report.pdf", "report.docx")
FOREIGN = re.compile(r"^@@((?:answer|question) \S+)@@$", re.MULTILINE)  # in the template: here stands one
SAFE_LINK = re.compile(r"(https?://|mailto:|#)", re.IGNORECASE)
LARGEST, MOST_PIXELS, LONGEST = 20_000_000, 50_000_000, 1400  # of a picture that is opened; a side of one that goes in
READER = "markdown-raw_html-raw_tex-raw_attribute-yaml_metadata_block-citations-example_lists-auto_identifiers"
READER += "+lists_without_preceding_blankline+east_asian_line_breaks"
PLUGINS = ["strikethrough", "table", "url", "task_lists", "footnotes", "math"]
ENVIRONMENT = re.compile(r"^\\begin\{(align|equation|gather)(\*?)\}(.*?)\\end\{\1\2\}", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<![\\$])\$(?!\$)([^$\n]+)\$(?!\$)")
PANDOC_SECONDS = 60
WIDTHS = {"2": "64%", "3": "52%", "5": "52%", "meter-mlp": "66%", "meter-dcgan": "66%"}  # others: 100%


class Pictures:
    """The figures, by "figure:<name>", and the pictures of the answers; `lost` says what cannot be had."""

    def __init__(self, figures: dict[str, Picture], questions: list[Question], folder: Path, words: Catalogue):
        self.figures, self.folder, self.words, self.lost = figures, folder.resolve(), words, []
        self.attached = {f"{q.number}/{name}": kinds for q in questions for name, kinds in q.attachments.items()}

    def find(self, address: str) -> Picture | str:
        """The picture at an address, or a sentence that names what is missing."""
        if address.startswith("figure:") and address[7:] in self.figures:
            return self.figures[address[7:]]
        try:
            return self._opened(unquote(address))
        except (OSError, ValueError, Image.DecompressionBombError, SyntaxError) as error:
            reason = str(error) if type(error) is ValueError else self.words.gettext("cannot be shown")
            self.lost.append(f"{re.sub('^attachment:[0-9.]+/', 'attachment:', address)[:100]}: {reason}")
            return f"[{self.lost[-1]}]"

    def _opened(self, address: str) -> Picture:
        """PNG or JPEG of a picture of the working copy, no larger than a page needs."""
        if address.startswith("attachment:"):
            if not (kinds := self.attached.get(address.removeprefix("attachment:"))):
                raise ValueError(self.words.gettext("is not attached to its cell"))
            content = base64.b64decode(next(iter(kinds.values())))
        else:
            if re.match(r"\s*(\w[\w+.-]+:|[/\\]{2})", address):
                raise ValueError(self.words.gettext("is not in the working copy; no host is asked"))
            path = (self.folder / address).resolve()
            if not path.is_relative_to(self.folder):
                raise ValueError(self.words.gettext("lies outside the working copy"))
            if not path.is_file() or path.stat().st_size > LARGEST:
                raise ValueError(self.words.gettext("is not there, or too large"))
            content = path.read_bytes()
        image = Image.open(io.BytesIO(content), formats=["PNG", "JPEG", "GIF", "WEBP"])
        if image.width * image.height > MOST_PIXELS:  # some bytes can say so, and take gigabytes
            raise ValueError(self.words.gettext("is not there, or too large"))
        if image.format == "JPEG" and max(image.size) <= LONGEST:
            image.load()
            return Picture("jpeg", content, "")
        image.thumbnail((LONGEST, LONGEST))
        kept = io.BytesIO()
        image.convert("RGBA" if "A" in image.getbands() or "transparency" in image.info else "RGB").save(kept, "PNG")
        return Picture("png", kept.getvalue(), "")


def pieces(text: str, questions: list[Question]) -> list[str]:
    """The document cut into its own text and what others wrote, in turn."""
    texts = {f"answer {q.number}": re.sub(r"\{[^{}\n]*\.ours[^{}\n]*\}", "", _as_in_jupyter(q)) for q in questions}
    texts |= {f"question {q.number}": "> " + q.text.replace("\n", "\n> ") for q in questions}
    return [part if i % 2 == 0 else texts.get(part, "") for i, part in enumerate(FOREIGN.split(text))]


def _as_in_jupyter(question: Question) -> str:
    """An answer whose formulas may be written in each way that Jupyter takes; its attachments get its number."""
    text = question.answer.replace("](attachment:", f"](attachment:{question.number}/")
    text = ENVIRONMENT.sub(r"$$\n\\begin{aligned}\3\\end{aligned}\n$$", text)
    return INLINE.sub(lambda m: f"${m[1].strip()}$" if m[1][0] == m[1][-1] == " " else m[0], text)


def html_page(parts: list[str], pictures: Pictures, words: Catalogue, title: str, digest: str) -> str:
    """One file that asks no host for anything, for light and dark and for print; `digest` says what it was made of."""
    body = []
    for i, part in enumerate(parts):
        markdown = mistune.create_markdown(renderer=_Html(pictures), plugins=PLUGINS)
        for kind, display in (("inline_math", False), ("block_math", True)):  # in place of what the plugin registered
            markdown.renderer.register(kind, lambda _, tex, display=display: _mathml(tex, display))
        made = markdown(part.replace(" {.ours}\n", "\n"))
        if i % 2:  # an answer's headings are below the report's
            made = re.sub(r"<(/?)h[1-6]>", r"<\1h5>", made)
            made = f'<div class="answer">{made}</div>'
        body.append(made)
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True)
    style = environment.loader.get_source(environment, "style.css")[0]
    template = environment.get_template("page.html.j2")
    return template.render(
        title=title, body="\n".join(body), language=LANGUAGES[words.language], style=style, digest=digest
    )


class _Html(mistune.HTMLRenderer):
    """Markdown to HTML: formulas as MathML, raw HTML as text, links to the web alone, pictures inside."""

    def __init__(self, pictures: Pictures):
        super().__init__(escape=True)
        self.pictures, self.caption = pictures, ""

    def link(self, text, url, title=None):
        return super().link(text, url, title) if SAFE_LINK.match(url) else f"<span>{text}</span>"

    def image(self, text, url, title=None):
        found = self.pictures.find(url)
        if isinstance(found, str):
            return f'<span class="missing">{html.escape(found)}</span>'
        self.caption = text
        return f'<img alt="{html.escape(found.alt or text)}" src="{found.address}">'

    def paragraph(self, text):
        text = re.sub(r"(?<=[\u3000-\u9fff\uff00-\uffef])\n(?=[\u3000-\u9fff\uff00-\uffef])", "", text)
        if re.fullmatch(r"<img [^<>]*>", text):  # alone in its paragraph: a figure with a caption
            return f"<figure>{text}<figcaption>{self.caption}</figcaption></figure>\n"
        return super().paragraph(text)


def _mathml(tex: str, display: bool) -> str:
    try:
        return LatexToMathML(fancy_error=False).convert_with_local_state(tex, displaystyle=display)
    except LatexError:
        return f"<code>{html.escape(tex)}</code>"


def pdf_and_word(parts: list[str], pictures: Pictures, words: Catalogue, title: str) -> dict[str, bytes]:
    """{"report.pdf": ..., "report.docx": ...}.

    Raises:
        ImportError: pandoc or typst is not installed.
        ValueError: one of them refused; the sentence says what it said.
    """
    import pypandoc
    import typst

    pandoc = [pypandoc.get_pandoc_path(), "--sandbox"]
    language = ["-M", f"lang={LANGUAGES[words.language]}", "-M", f"title={title}"]
    with tempfile.TemporaryDirectory(prefix="report-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        for i, part in enumerate(parts):
            (folder / f"{i:03}.md").write_text(part + "\n", "utf8", "backslashreplace")
        names = [f"{i:03}.md" for i in range(len(parts))]
        read = ["--file-scope", "--columns=9999", "-f", READER, "-t", "json", *names]
        document = json.loads(_pandoc([*pandoc, *read], folder, b""))
        media: dict[str, Path] = {}
        tree = json.dumps(_safe(document, _stored(pictures, folder, media))).encode()
        fonts, families = font_arguments(typst)
        template = ["--template", str(TEMPLATES / "typst.template"), "-V", f"fonts={families}"]
        source = _pandoc([*pandoc, "-f", "json", "-t", "typst", *template, *language], folder, tree)
        (folder / "report.typ").write_bytes(source)
        try:
            made = typst.compile(folder / "report.typ", root=folder, font_paths=fonts)
            for vector in [path for path in media.values() if path.suffix == ".svg"]:  # Word shows no vectors
                page = f'#set page(width: auto, height: auto, margin: 0pt)\n#image("{vector.name}", width: 17cm)'
                (folder / "one.typ").write_text(page)
                png = typst.compile(folder / "one.typ", root=folder, font_paths=fonts, format="png", ppi=200.0)
                vector.with_suffix(".png").write_bytes(png)
        except RuntimeError as error:
            raise ValueError(f"typst could not set the report: {str(error)[:300]}") from error
        inside = {path.name: path.with_suffix(".png") if path.suffix == ".svg" else path for path in media.values()}
        word = _safe(json.loads(tree), lambda address: _data(inside[address]))
        word["blocks"] = _for_word(word["blocks"])
        tree = json.dumps(word).encode()
        reference = ["--reference-doc", str(TEMPLATES / "reference.docx")]
        word = _pandoc([*pandoc, "-f", "json", "-t", "docx", *reference, *language, "-o", "-"], folder, tree)
    return {"report.pdf": made, "report.docx": word}


def _pandoc(command: list[str], folder: Path, given: bytes) -> bytes:
    try:
        done = subprocess.run(command, cwd=folder, input=given, capture_output=True, timeout=PANDOC_SECONDS)
    except subprocess.TimeoutExpired:
        raise ValueError(f"pandoc took more than {PANDOC_SECONDS} s for the report.") from None
    if done.returncode:
        raise ValueError(f"pandoc refused the report: {done.stderr.decode('utf8', 'replace')[:300]}")
    return done.stdout


def _stored(pictures: Pictures, folder: Path, media: dict[str, Path]) -> Callable[[str], tuple[str, str] | str]:
    """Puts pictures into the folder: address -> (name of the file, words for it), or a sentence."""

    def store(address: str) -> tuple[str, str] | str:
        found = pictures.find(address)
        if isinstance(found, str):
            return found
        if address not in media:
            media[address] = folder / f"picture{len(media)}.{found.kind}"
            media[address].write_bytes(found.content)
        return media[address].name, found.alt

    return store


def _data(path: Path) -> tuple[str, str]:
    return f"data:image/{path.suffix[1:]};base64,{base64.b64encode(path.read_bytes()).decode()}", ""


def _safe(node, store: Callable[[str], tuple[str, str] | str]):
    """A pandoc document whose pictures are stored, whose links lead to the web, whose foreign headings are small."""
    if isinstance(node, list):
        return [_safe(each, store) for each in node]
    if not isinstance(node, dict):
        return node
    kind, content = node.get("t"), node.get("c")
    if kind == "Image":
        found = store(content[2][0])
        if isinstance(found, str):
            return {"t": "Emph", "c": [{"t": "Str", "c": found}]}
        name = content[2][0].removeprefix("figure:")
        width = "70%" if name == content[2][0] else WIDTHS.get(name, "100%")
        attributes = content[0]
        if not attributes[2]:
            attributes = ["", [], [["width", width]] + [["alt", found[1]]] * bool(found[1])]
        return {"t": kind, "c": [attributes, _safe(content[1], store), [found[0], ""]]}
    if kind == "Link" and not SAFE_LINK.match(content[2][0]):
        return {"t": "Span", "c": [["", [], []], _safe(content[1], store)]}
    if kind in ("RawInline", "RawBlock"):
        return {"t": kind.replace("Raw", "Code").replace("Inline", ""), "c": [["", [], []], content[1]]}
    if kind == "Header" and "ours" not in content[1][1]:
        return {"t": "Para", "c": [{"t": "Strong", "c": _safe(content[2], store)}]}
    return {key: _safe(value, store) for key, value in node.items()}


def _for_word(blocks: list[dict]) -> list[dict]:
    """Without the first heading, which is the title once more; columns as wide as what stands in them."""
    for table in [block["c"] for block in blocks if block["t"] == "Table"]:
        rows = [row[1] for part in (table[3][1], *(body[3] for body in table[4])) for row in part]
        needed = [4 + max(6, *map(_width, column)) for column in zip(*rows, strict=True)]
        for column, width in zip(table[2], needed, strict=True):
            column[1] = {"t": "ColWidth", "c": min(1, max(sum(needed) / 68, 0.6)) * width / sum(needed)}
    return blocks[1:] if blocks[0]["t"] == "Header" else blocks


def _width(node) -> int:
    """Letters of a cell, Chinese ones as two."""
    if isinstance(node, str):
        return sum(1 + (ord(letter) > 0x2E7F) for letter in node)
    if isinstance(node, dict):
        return 1 if node["t"] == "Space" else _width(node.get("c", []))
    return sum(map(_width, node)) if isinstance(node, list) else 0


def font_arguments(typst) -> tuple[list[str], str]:
    """Folders of fonts for typst, and the families to set text in that are here, first choice first."""
    folders = [str(path) for path in [font_folder()] if path]
    here = set(typst.Fonts(font_paths=folders).families())
    return folders, ", ".join(f'"{name}"' for name in ["Libertinus Serif", *(name for name in CHINESE if name in here)])
