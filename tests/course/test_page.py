"""The lab's page: it stands alone, whatever the notebooks hold, and says what it could not take in."""

import base64
import html.parser
import os
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import nbformat
import pytest
import small_lab
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from labutils.course.lab import execute_all
from labutils.course.notebooks import Executed
from labutils.course.offline import offline
from labutils.course.page import lab_page
from labutils.course.suite import committed

ROOT = Path(__file__).parents[2]
PNG = small_lab.PNG


class Loads(html.parser.HTMLParser):
    """Collects what a page would load by itself: everything but links, which wait for a click."""

    def __init__(self, page: str):
        super().__init__()
        self.found, self.formulas, self.in_style = [], 0, False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.formulas += tag == "math"
        self.in_style = tag == "style"
        names = ("src", "srcset", "data", "poster", "background", *(() if tag == "a" else ("href", "xlink:href")))
        self.found += [
            attributes[name] for name in names if not (attributes.get(name) or "data:").startswith(("data:", "#"))
        ]
        self.found += re.findall(r"url\((?!['\"]?(?:data:|#))[^)]*\)", attributes.get("style") or "")
        self.found += [tag] * (tag in ("script", "iframe", "base", "form"))

    def handle_data(self, text):
        if self.in_style:
            self.found += re.findall(r"@import[^;]*|url\((?!['\"]?(?:data:|#))[^)]*\)", text)

    def handle_endtag(self, tag):
        self.in_style = False


def test_loads_sees_what_a_page_would_load():
    page = (
        '<link href="a.css"><img src="b.png"><script>x()</script><style>@import "c.css"; p { background: url(d.png) }'
        '</style><p style="background: url(e.png)"><svg><image xlink:href="f.png"/></svg><a href="https://g">g</a>'
        '<img src="data:image/png;base64,AA==">'
    )
    assert len(Loads(page).found) == 7


def figures(notebook) -> list[str]:
    """What the page must hold of each PNG and SVG output, in base64."""
    found = []
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        data = output.get("data", {})
        if "image/svg+xml" in data:
            found.append(base64.b64encode(data["image/svg+xml"].encode()).decode())
        elif "image/png" in data:
            found.append(data["image/png"].replace("\n", ""))
    return found


@pytest.mark.thorough
def test_the_page_of_the_committed_notebooks_stands_alone():
    notebooks = {path.stem: nbformat.read(path, as_version=4) for path in committed(ROOT)}
    executed = [Executed(name, notebook, 60) for name, notebook in notebooks.items()]
    page, remarks = lab_page(executed, ROOT / "notebooks", "Lab", "")
    assert (remarks, [each.error for each in executed if each.error]) == ([], [])
    loads = Loads(page)
    assert loads.found == []
    prose = [cell.source for each in notebooks.values() for cell in each.cells if cell.cell_type == "markdown"]
    formulas = sum(len(re.findall(r"(?<![\\$])\$\$?[^$`]+\$\$?", text)) for text in prose)
    assert loads.formulas >= 0.9 * formulas > 100  # a dollar sign in code looks like a formula to the pattern
    expected = [figure for notebook in notebooks.values() for figure in figures(notebook)]
    assert len(expected) > 20
    assert [figure[:40] for figure in expected if figure not in page] == []


class Shown(NamedTuple):
    html: str
    remarks: list[str]
    error: str


def shown(tmp_path, *cells, name: str = "01_one", error: str = "") -> Shown:
    """The page of one notebook whose folder is tmp_path/notebooks."""
    (tmp_path / "notebooks").mkdir(exist_ok=True)
    executed = Executed(name, new_notebook(cells=list(cells)), 60, error)
    made = Shown(*lab_page([executed], tmp_path / "notebooks", "Lab", "A note"), executed.error)
    assert Loads(made.html).found == []
    return made


def output(**data) -> nbformat.NotebookNode:
    kinds = {kind.replace("_", "/"): value for kind, value in data.items()}
    return new_code_cell("1", outputs=[new_output("display_data", kinds)])


def picture(folder: Path, name: str = "a.png") -> str:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(base64.b64decode(PNG))
    return name


def test_formulas_are_mathml_and_what_is_none_is_named(tmp_path):
    made = shown(tmp_path, new_markdown_cell(small_lab.NOTEBOOKS["01_good"][0]), output(text_latex="$\\frac{1}{2}$"))
    assert Loads(made.html).formulas == 3
    assert "<mfrac>" in made.html
    assert "<code>\\nosuch</code>" in made.html
    assert "<code>$code$</code>" in made.html
    assert made.remarks == ["01_one: a formula is shown as TeX: \\nosuch"]
    assert made.error == ""


@pytest.mark.parametrize("place", ["notebooks", "runs/mine/samples"])
@pytest.mark.parametrize(
    "markup", ["![mine]({})", '<img src="{}" width="9">', '<p style="background: url({})">x</p>', "<video poster='{}'>"]
)
def test_a_picture_by_its_path_goes_into_the_page(markup, place, tmp_path):
    address = picture(tmp_path / place) if place == "notebooks" else f"../{place}/{picture(tmp_path / place)}"
    for cell in (new_markdown_cell(markup.format(address)), output(text_html=markup.format(address))):
        if "![" in markup and cell.cell_type == "code":
            cell = output(text_markdown=markup.format(address))
        made = shown(tmp_path, cell)
        assert PNG in made.html
        assert (made.error, made.remarks) == ("", [])


def test_a_name_with_signs_in_it_is_found(tmp_path):
    names = ["my digits.png", "Ziffern 数字.png", "50%.png", *(['said "so".png'] if os.name != "nt" else [])]
    folder = tmp_path / "notebooks"
    text = "\n".join(f"![]({picture(folder, name).replace(' ', '%20')})" for name in names)
    made = shown(tmp_path, new_markdown_cell(text))
    assert made.html.count(PNG) == len(names)
    assert made.remarks == []


NO_HOST = "is not loaded: the page asks no host for anything."
LOST = {  # markup -> the sentence that names what is lost
    "![mine](gone.png)": "gone.png is not there.",
    "<img src='gone.png'>": "gone.png is not there.",
    "<p style='background: url(\"gone.png\")'>x</p>": "gone.png is not there.",
    "<style>p { background: url(gone.png) }</style>": "gone.png is not there.",
    "<svg><image href='gone.png'/></svg>": "gone.png is not there.",
    "<img src='../../outside.png'>": "../../outside.png lies outside the lab's folder.",
    "<img src='secret.txt'>": "secret.txt is no picture of at most 20 MB.",
    f"<img src='{'long' * 100}.png'>": f"{'long' * 24}l... is not there.",
    "![far](https://example.org/a.png)": f"https://example.org/a.png {NO_HOST}",
    "<img src='//example.org/a.png'>": f"//example.org/a.png {NO_HOST}",
    "<img src='\\\\example.org\\a.png'>": f"\\\\example.org\\a.png {NO_HOST}",
    "<img src=' HTTPS://example.org/a.png'>": f" HTTPS://example.org/a.png {NO_HOST}",
    "<img src='file:///etc/a.png'>": f"file:///etc/a.png {NO_HOST}",
    "<style>@import 'https://example.org/a.css';</style>": "@import 'https://example.org/a.css'; is left out.",
    "<script src='https://example.org/a.js'></script>": "<script> https://example.org/a.js is left out.",
    "<script>alert(1)</script>": "<script> is left out.",
    "<iframe src='https://example.org'></iframe>": "<iframe> https://example.org is left out.",
    "<link rel='stylesheet' href='https://example.org/a.css'>": "<link> https://example.org/a.css is left out.",
    "<object data='https://example.org/a.swf'></object>": "<object> is left out.",
    "<meta http-equiv='refresh' content='0; url=https://example.org'>": "<meta> is left out.",
}


@pytest.mark.thorough
@pytest.mark.parametrize("markup", LOST)
def test_what_cannot_be_inside_is_named_and_not_loaded(markup, tmp_path):
    picture(tmp_path.parent, "outside.png")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "secret.txt").write_text("secret")
    for cell in (new_markdown_cell(markup), output(text_markdown=markup), output(text_html=markup)):
        if markup.startswith("!") and "text/html" in cell.get("outputs", [{"data": {}}])[0]["data"]:
            continue
        made = shown(tmp_path, new_markdown_cell("# One"), cell)
        assert made.remarks == [f"01_one: {LOST[markup]}"]
        assert made.error == ""
        left = re.sub(r"<span class=\"left-out\">.*?</span>", "", made.html)
        assert "example.org" not in left
        assert base64.b64encode(b"secret").decode() not in made.html


def test_what_only_a_script_can_show_is_named(tmp_path):
    made = shown(tmp_path, output(application_javascript="fetch('https://example.org')</script>"))
    assert made.remarks == ["01_one: <script> is left out."]
    isolated = output(text_html="<b>bold</b>")
    isolated.outputs[0].metadata = {"text/html": {"isolated": True}}
    assert "<b>bold</b>" in shown(tmp_path, isolated).html


def test_handlers_and_further_sources_go(tmp_path):
    picture(tmp_path / "notebooks")
    made = shown(tmp_path, output(text_html="<img src='a.png' srcset='https://example.org/b.png 2x' onerror='x()'>"))
    assert PNG in made.html
    assert "example.org" not in made.html
    assert "onerror" not in made.html


def test_what_is_harmless_stays_as_it_is(tmp_path):
    kept = (
        '<a href="https://example.org">link</a><svg><use href="#here"></use></svg>'
        f"<p style=\"background: url('data:image/png;base64,{PNG}'); clip-path: url(#here)\">x</p>"
        '<style>p > b { color: red }</style><audio src="data:audio/wav;base64,AAAA"></audio>'
    )
    assert offline(kept, tmp_path) == (kept, [])


def test_the_page_forbids_a_browser_to_load_anything(tmp_path):
    made = shown(tmp_path, new_markdown_cell("# One"))
    policy = re.search(r'<meta http-equiv="Content-Security-Policy" content="(.*?)">', made.html)
    assert policy.start() < made.html.index("<style")
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].split(";"))
    assert rules.pop("style-src") == "'unsafe-inline'"
    assert set(rules.values()) == {"'none'", "data:"}
    assert rules["default-src"] == "'none'"


def test_an_attachment_goes_into_the_page(tmp_path):
    for text in ("![mine](attachment:a%20b.png)", '<img src="attachment:a b.png">'):
        made = shown(tmp_path, new_markdown_cell(text, attachments={"a b.png": {"image/png": PNG}}))
        assert f"data:image/png;base64,{PNG}" in made.html
        assert made.error == ""


@pytest.mark.parametrize("text", ["![mine](attachment:gone.png)", "<img src='attachment:gone.png'>"])
def test_a_lost_attachment_is_a_failure_of_its_notebook_only(text, tmp_path, capsys):
    small_lab.build(tmp_path, {"01_lost": [text, "1 + 1"], "02_whole": ["# Whole", "2 + 2"]})
    assert execute_all(preset="smoke", root=tmp_path) == 1
    sentence = "the picture 'gone.png' is not attached to its cell; paste it there again."
    printed = capsys.readouterr().out
    assert "1 of 2 notebooks without error" in printed
    assert f"Failed: 01_lost: {sentence}" in printed
    made = (tmp_path / "build" / "lab.html").read_text("utf8")
    assert sentence in html.unescape(made)
    assert "Whole" in made


def test_a_notebook_that_cannot_be_shown_costs_no_other_its_place(tmp_path):
    cells = {"01_odd": output(text_plain="1"), "02_whole": output(text_plain="whole")}
    executed = [Executed(name, new_notebook(cells=[cell]), 1) for name, cell in cells.items()]
    cells["01_odd"].outputs[0].data["image/svg+xml"] = "half a character: \ud800"
    page, _ = lab_page(executed, tmp_path, "Lab", "")
    assert executed[0].error.startswith("01_odd: cannot be put in the page (UnicodeEncodeError: ")
    assert executed[0].error in html.unescape(page)
    assert executed[1].error == ""
    assert "whole" in page


def test_names_and_words_are_escaped_everywhere(tmp_path):
    name = "05_\"<b>&'%20 数"
    error = f'{name}: raised <Error> & "more"'
    seen = Seen(shown(tmp_path, new_markdown_cell('# A <i>"heading"</i>'), name=name, error=error).html)
    assert seen.ids == [name]
    assert [unquote(link) for link in seen.links] == [f"#{name}"]
    assert error in seen.text
    assert 'A <i>"heading"</i>' in seen.text


class Seen(html.parser.HTMLParser):
    """What a browser makes of names and words."""

    def __init__(self, page: str):
        super().__init__()
        self.ids, self.links, self.text = [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.ids += [value for name, value in attributes if tag == "section" and name == "id"]
        self.links += [value for name, value in attributes if tag == "a"]

    def handle_data(self, text):
        self.text += text
