"""The student's report: all of it from his folders, in two languages; what an answer holds is shown and not run."""

import base64
import html.parser
import io
import json
import os
import re
import shutil
import string
import zipfile

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from labutils import quality
from labutils.course import cli, material, report_figures, report_formats, report_text, translation
from labutils.course.translation import TEMPLATES, Catalogue
from labutils.engine import files

CHINESE = json.loads((TEMPLATES / "zh.json").read_text("utf8"))
HAN = sorted({letter for text in CHINESE.values() for letter in text if "\u4e00" <= letter <= "\u9fff"})


def tools():
    """Skip where pandoc and typst are not installed."""
    pytest.importorskip("pypandoc", reason="needs pandoc: pip install '.[report]'")
    return pytest.importorskip("typst", reason="needs typst: pip install '.[report]'")


@pytest.fixture
def only_html(monkeypatch):
    """No PDF and no Word file: most tests look at the page, and pandoc takes a second."""

    def absent(*arguments):
        raise ImportError

    monkeypatch.setattr(report_formats, "pdf_and_word", absent)


@pytest.fixture
def no_figures(only_html, monkeypatch):
    """Nor are figures drawn, which takes seconds."""
    monkeypatch.setattr(report_figures, "all_figures", lambda *arguments: {})


def said(capsys, *arguments: str, code: int = 0) -> str:
    assert cli.main(["report", *arguments]) == code
    out, err = capsys.readouterr()
    return out + err


class Page(html.parser.HTMLParser):
    """What a browser would make of the page: its tags with attributes, its text."""

    def __init__(self, desk):
        super().__init__()
        self.tags, self.text = [], ""
        self.source = (desk.root / "report" / "report.html").read_text("utf8")
        self.feed(self.source)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data if self.tags and self.tags[-1][0] != "style" else ""

    def all(self, name: str) -> list[dict]:
        return [attributes for tag, attributes in self.tags if tag == name]


def is_alone(page: Page) -> None:
    """It loads nothing: pictures are inside, and no tag or style asks a host."""
    assert not {tag for tag, _ in page.tags} & {"script", "iframe", "object", "embed", "link", "base", "form", "video"}
    assert all(each["src"].startswith("data:image/") for each in page.all("img"))
    assert not re.search(r"@import|url\(", page.source.partition("</style>")[0])
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert all(re.match(r"https?://|mailto:|#", a["href"], re.IGNORECASE) for a in page.all("a"))
    assert [meta for meta in page.all("meta") if "default-src 'none'" in meta.get("content", "")]


@pytest.mark.usefixtures("only_html")
@pytest.mark.parametrize(
    ("language", "words"),
    [
        (
            "zh",
            ["图 1", "图 7", "表 1", "真实图像", "没有完成|小规模试运行", "第 24 周期停止。", "王 小明", "（未作答）"],
        ),
        ("en", ["Figure 1.", "Figure 7.", "Table 1.", "real images", "only a small one", "王 小明", "(not answered)"]),
    ],
)
def test_all_of_it_is_there_in_each_language(language, words, desk, capsys):
    desk.answer({"5.1": "第 24 周期停止。"})
    printed = said(capsys, "--lang", language)
    page = Page(desk)
    for word in words:
        assert re.search(re.escape(word).replace(r"\|", "|"), page.text), word
    assert len(page.all("figure")) == 9  # seven, and two collapse meters
    assert all(len(each["alt"]) > 10 for each in page.all("img"))
    assert dict(page.tags)["html"]["lang"] == {"zh": "zh-CN", "en": "en"}[language]
    assert "128970958758141" in page.text
    assert "At which epoch would you stop?" in page.text
    is_alone(page)
    assert os.path.join("report", "report.html") in printed
    assert len(page.source) < 5_000_000
    assert "{" not in page.text.replace("{aligned}", "")  # nothing of the template, nothing unfilled


@pytest.mark.usefixtures("no_figures")
def test_the_language_is_that_of_the_answers_unless_asked_for(desk, capsys):
    desk.answer({"5.1": "我会在第 24 周期停止，因为那时损失最小。"})
    said(capsys)
    assert "缺少的内容" in Page(desk).text
    desk.answer({"5.1": "At 24."})
    said(capsys)
    assert "What is missing" in Page(desk).text


@pytest.mark.usefixtures("only_html")
def test_figures_are_made_from_the_folders(desk, capsys):
    said(capsys)
    before = [each["src"] for each in Page(desk).all("img")]
    for path in (desk.run("mlp") / "samples").glob("*.png"):
        Image.new("L", (242, 242), 77).save(path)
    said(capsys)
    after = [each["src"] for each in Page(desk).all("img")]
    assert [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b] == [3, 4]  # figures 4 and 5


@pytest.mark.usefixtures("only_html")
def test_without_runs_and_answers_it_says_so_on_top(desk, capsys):
    shutil.rmtree(desk.runs)
    (desk.work / "student.json").unlink()
    printed = said(capsys, "--lang", "en")
    page = Page(desk)
    top = page.text.partition("The game")[0]
    for sentence in ("Nobody is named", "There is no run of MLP", "There is no run of DCGAN", "0 of 2 questions"):
        assert sentence in top
        assert sentence in printed
    assert "nobody is named" in top
    assert len(page.all("figure")) == 3  # those that need no run
    assert "Figure 4." in page.text
    is_alone(page)


@pytest.mark.usefixtures("no_figures")
def test_another_run_may_be_named(desk, capsys):
    shutil.copytree(desk.run("mlp"), desk.runs / "mlp 副本")
    said(capsys, "--mlp", "mlp 副本")
    assert "mlp 副本" in Page(desk).text
    assert "is no run of dcgan" in said(capsys, "--dcgan", "mlp 副本", code=2)
    assert "is not a run" in said(capsys, "--mlp", "none", code=2)


@pytest.mark.usefixtures("no_figures")
def test_a_run_that_cannot_be_scored_is_named_and_the_rest_goes_on(desk, capsys, monkeypatch):
    def broken(run):
        raise ValueError("images hold NaN")

    monkeypatch.setattr(material, "scored", broken)
    said(capsys, "--lang", "en")
    assert "mlp mine has no scores: images hold NaN" in Page(desk).text


@pytest.mark.usefixtures("no_figures")
def test_five_seeds_of_each_are_judged_by_the_rule_of_the_study(desk, capsys, monkeypatch):
    scores = material.scored(None)
    for model in material.MODELS:
        for i in range(4):
            folder = shutil.copytree(desk.run(model), desk.runs / f"{model}x{i}")
            config = files.read_json(folder / "config.json")
            config["train"]["seed"] = i
            files.write_json(folder / "config.json", config)
    # the DCGAN is better in all but one seed, which is dead
    monkeypatch.setattr(
        material,
        "scored",
        lambda run: (
            scores
            | {"frechet": 50.0 if run.config["train"]["model"] == "dcgan" else 90.0 + run.config["train"]["seed"] % 7}
            | {"coverage": 0.0 if run.folder.name == "dcganx3" else 0.5}
        ),
    )
    said(capsys, "--lang", "en")
    text = Page(desk).text
    assert "MLP. 5 of 5 runs of these settings live" in text
    assert "DCGAN. 4 of 5 runs of these settings live" in text
    assert "Table 3. What the original report claims" in text
    assert re.search(r"frechet is higher 0\.20 \(0\.\d\d – 0\.\d\d\) (undecided|does not hold)", text)


@pytest.mark.usefixtures("no_figures")
def test_a_full_disk_is_a_sentence_and_the_old_report_stays(desk, capsys, monkeypatch):
    said(capsys)
    before = (desk.root / "report" / "report.html").read_bytes()
    desk.answer({"5.1": "new"})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    assert "report.html: the disk is full; free some space" in said(capsys, code=2)
    assert (desk.root / "report" / "report.html").read_bytes() == before


HOSTILE = {  # an answer -> what a reader must see of it as text
    "<script>alert(1)</script>": "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>": "<img src=x onerror=alert(1)>",
    "text <b onmouseover=x()>bold</b> end": "<b onmouseover=x()>bold</b>",
    "<style>body { display: none }</style>": "<style>body { display: none }</style>",
    "</div></main></body><h1>mine</h1>": "</div></main></body><h1>mine</h1>",
    "[click](javascript:alert(1))": "click",
    "[click](JaVaScRiPt&colon;alert(1))": "click",
    "[click](data:text/html,<script>1</script>)": "click",
    "[click](file:///etc/passwd)": "click",
    "<javascript:alert(1)>": "javascript:alert(1)",
    "```{=html}\n<b>raw</b>\n```": "<b>raw</b>",
    "```{=typst}\n#panic()\n```": "#panic()",
    '`#read("/etc/passwd")`{=typst}': '#read("/etc/passwd")',
    '#panic(1) #image("/etc/passwd") #import "x"': "#panic(1)",
    "\\input{/etc/passwd} \\write18{ls}": "/etc/passwd",
    "$\\href{javascript:alert(1)}{x}$": "x",
    "$$\\input{/etc/passwd}$$": "/etc/passwd",
    "```\nnever closed": "never closed",
    "$$ never closed": "never closed",
    "::: {.box}\nnever closed": "never closed",
    "---\ntitle: other\n---": "title: other",
    "# 9 Conclusions\n\nMark: 100": "Mark: 100",
    "Title\n=====\n\nbelow": "Title",
    "@@answer 5.2@@": "@@answer 5.2@@",
    "[^1]\n\n[^1]: note": "note",
    "# Mine {.ours}\n\n## 9 Conclusions {#x .ours}\n\nMark: 100": "Mark: 100",
    "[click][1]\n\n[1]: javascript:alert(1)": "click",
    "<file:///etc/passwd>": "file:///etc/passwd",
    "| a | b |\n|---|": "a",
    "<!-- never closed": "<!-- never closed",
    "\u202e right to left \u05d0 \U0001f600": "right to left",
    "word " * 200_000 + "at the end": "at the end",
    "{{ 7 * 7 }} {% raw %} ${7*7}": "{{ 7 * 7 }}",
    "![](figure:nothing)": "figure:nothing",
    "\x00\x07\ud800 half": "half",
    "[" * 3000 + "deep": "deep",
    ">" * 500 + " deep": "deep",
}


@pytest.mark.thorough
@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("answer", HOSTILE, ids=lambda text: repr(text[:40]))
def test_what_an_answer_holds_is_shown_and_not_run(answer, desk, capsys, monkeypatch):
    if "\ud800" in answer:
        monkeypatch.setattr(desk, "answer", lambda answers: half_a_letter(desk, answers))
    desk.answer({"5.1": answer, "5.2": "the second answer"})
    said(capsys, "--lang", "en")
    page = Page(desk)
    is_alone(page)
    assert HOSTILE[answer] in page.text
    assert "the second answer" in page.text
    headings = [tag for tag, _ in page.tags if re.fullmatch("h[1-3]", tag)]
    assert headings.count("h1") == 1
    assert headings.count("h2") == 10
    assert "Conclusions" in page.text.rpartition("the second answer")[2]  # it swallowed nothing that follows


def half_a_letter(desk, answers: dict[str, str]) -> None:
    desk.work.mkdir(exist_ok=True)
    from tests.course.conftest import notebook  # with nbformat's own writer this is refused

    (desk.work / "05_training.ipynb").write_text(json.dumps(notebook(answers)), "utf8")


def test_nothing_of_an_answer_runs_in_pdf_and_word(desk, capsys, monkeypatch):
    monkeypatch.setattr(report_figures, "all_figures", lambda *arguments: {})
    tools()
    secret = desk.work / "secret.txt"
    desk.answer({"5.1": "\n\n".join(a for a in HOSTILE if len(a) < 400 and "\ud800" not in a), "5.2": "after all that"})
    secret.write_text("secret")
    printed = said(capsys, "--lang", "en")
    assert "report.pdf" in printed
    document = zipfile.ZipFile(desk.root / "report" / "report.docx").read("word/document.xml").decode("utf8")
    assert "after all that" in document
    assert "#panic" in document
    relations = zipfile.ZipFile(desk.root / "report" / "report.docx").read("word/_rels/document.xml.rels").decode()
    assert "javascript" not in relations.lower()
    assert "file:" not in relations


PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("name", ["mine.png", "my pictures/数字 7.png"])
def test_a_picture_of_the_working_copy_goes_in(name, desk, capsys):
    (desk.work / name).parent.mkdir(exist_ok=True)
    Image.new("RGB", (3000, 2000), "red").save(desk.work / name)
    desk.answer({"5.1": f"![my own](<{name}>)"})
    printed = said(capsys)
    (mine,) = [each for each in Page(desk).all("img") if each["alt"] == "my own"]
    image = Image.open(io.BytesIO(base64.b64decode(mine["src"].partition(",")[2])))
    assert image.size == (1400, 933)
    assert "a picture in an answer" not in printed


@pytest.mark.usefixtures("no_figures")
def test_an_attachment_goes_in_each_to_its_own_answer(desk, capsys):
    def png(colour: str) -> dict:
        content = io.BytesIO()
        Image.new("RGB", (4, 4), colour).save(content, "PNG")
        return {"a b.png": {"image/png": base64.b64encode(content.getvalue()).decode()}}

    text = "![one](attachment:a%20b.png)"
    desk.answer({"5.1": text, "5.2": text}, **{"5.1": png("red"), "5.2": png("blue")})
    said(capsys)
    sources = [each["src"] for each in Page(desk).all("img") if each["alt"] == "one"]
    colours = [Image.open(io.BytesIO(base64.b64decode(s.partition(",")[2]))).getpixel((0, 0)) for s in sources]
    assert colours == [(255, 0, 0), (0, 0, 255)]


LOST = {  # an address -> why it is not shown
    "gone.png": "is not there",
    "../outside.png": "lies outside the working copy",
    "../runs/../outside.png": "lies outside the working copy",
    "link.png": "lies outside the working copy",
    "/etc/passwd": "lies outside the working copy",
    "file:///etc/passwd": "is not in the working copy; no host is asked",
    "https://example.org/a.png": "is not in the working copy; no host is asked",
    "//example.org/a.png": "is not in the working copy; no host is asked",
    "attachment:gone.png": "is not attached to its cell",
    "student.json": "cannot be shown",
    "text.png": "cannot be shown",
    "drawing.svg": "cannot be shown",
    "folder": "is not there",
    "bomb.png": "is not there, or too large",  # some kilobytes that say they are 80 million pixels
    "data:image/png;base64,AAAA": "is not in the working copy; no host is asked",
}


@pytest.mark.thorough
@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("address", LOST)
def test_a_picture_that_cannot_be_had_is_named(address, desk, capsys):
    (desk.root / "outside.png").write_bytes(PICTURE)
    (desk.work / "text.png").write_text("secret")
    (desk.work / "drawing.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>')
    (desk.work / "folder").mkdir()
    Image.new("1", (10_000, 8_000)).save(desk.work / "bomb.png")
    if address == "link.png":
        if os.name == "nt":
            pytest.skip("links need rights there")
        (desk.work / "link.png").symlink_to(desk.root / "outside.png")
    desk.answer({"5.1": f"before ![mine]({address}) after"})
    printed = said(capsys, "--lang", "en")
    page = Page(desk)
    assert f"before [{address}: {LOST[address]}" in page.text
    assert "after" in page.text
    assert f"a picture in an answer: {address}: {LOST[address]}" in printed
    assert base64.b64encode(PICTURE).decode() not in page.source
    is_alone(page)


@pytest.mark.thorough
def test_pdf_and_word_hold_all_figures_and_chinese(desk, capsys):
    tools()
    Image.new("RGB", (40, 40), "red").save(desk.work / "mine.png")
    answer = "**第 24 周期**：$L_D = 2 \\ln 2$。\n\n![我的图](mine.png)\n\n| 周期 | 损失 |\n|---|---|\n| 24 | 1.39 |"
    desk.answer({"5.1": answer})
    printed = said(capsys, "--lang", "zh")
    for name in ("report.pdf", "report.docx"):
        assert name in printed
        assert (desk.root / "report" / name).stat().st_size < 5_000_000
    assert (desk.root / "report" / "report.pdf").read_bytes().startswith(b"%PDF-")
    word = zipfile.ZipFile(desk.root / "report" / "report.docx")
    document = word.read("word/document.xml").decode("utf8")
    pictures = [name for name in word.namelist() if name.startswith("word/media/")]
    assert len(pictures) == 9  # seven figures, one of the answer, and both meters, which are alike here
    assert {name.rpartition(".")[2] for name in pictures} <= {"png", "jpeg"}  # Word shows no vectors
    assert "<m:oMath" in document
    assert 'w:w="11906"' in document  # A4
    letters = re.sub(r"<[^>]*>|\s", "", document)  # Word cuts a text where its script changes
    for text in ("图7", "第24周期", "真实图像", "我的图"):
        assert text in letters
    assert document.count("生成对抗网络与") == 1  # the title, once
    grids = [re.findall(r'<w:gridCol w:w="(\d+)"', grid) for grid in document.split("<w:tblGrid>")[1:]]
    assert any(len(set(grid)) > 1 for grid in grids)  # columns as wide as what stands in them


def test_without_pandoc_there_is_the_page_and_no_stale_file(desk, capsys, monkeypatch):
    monkeypatch.setattr(report_figures, "all_figures", lambda *arguments: {})
    (desk.root / "report").mkdir()
    (desk.root / "report" / "report.pdf").write_text("of an older report")
    monkeypatch.setitem(__import__("sys").modules, "pypandoc", None)
    assert 'Only HTML: for PDF and Word python -m pip install --editable ".[report]".' in said(capsys)
    assert [path.name for path in (desk.root / "report").iterdir()] == ["report.html"]


def test_a_refusal_of_pandoc_is_a_sentence(desk, capsys, monkeypatch):
    monkeypatch.setattr(report_figures, "all_figures", lambda *arguments: {})
    tools()

    def refuse(*arguments):
        raise ValueError("pandoc refused the report: out of memory")

    monkeypatch.setattr(report_formats, "_pandoc", refuse)
    assert "Only HTML: pandoc refused the report: out of memory" in said(capsys)
    assert (desk.root / "report" / "report.html").exists()


def boxes(pixels: np.ndarray, count: int, side: int, columns: int) -> int:
    """How many cells of a sheet of letters are empty or look like another one: a missing letter is a box like any."""
    cells = [
        pixels[i // columns * side : (i // columns + 1) * side, i % columns * side : (i % columns + 1) * side].tobytes()
        for i in range(count)
    ]
    return count - len(set(cells) - {pixels[-side:, -side:].tobytes()})


@pytest.mark.parametrize(
    "letters", [HAN, list(string.ascii_letters.replace("l", "") + string.digits)], ids=["zh", "en"]
)
def test_no_letter_is_an_empty_box_in_a_pdf(letters, tmp_path):
    typst = tools()
    fonts = report_formats.font_arguments(typst)
    if letters is HAN and not set(report_figures.CHINESE) & set(re.findall(r'"(.*?)"', fonts[1])):
        pytest.skip("no Chinese font is here: pip install '.[report]', or fonts-noto-cjk")
    columns, side = 20, 40
    sheet = [*letters, *" " * (columns - len(letters) % columns)]
    rows = len(sheet) // columns
    body = f"#set page(width: {columns * side}pt, height: {rows * side}pt, margin: 0pt)\n#set par(leading: 0pt)\n"
    body += f"#grid(columns: ({side}pt,) * {columns}, rows: {side}pt, align: center + horizon,"
    body += ", ".join(f"[{letter}]" for letter in sheet) + ")"
    template = (TEMPLATES / "typst.template").read_text("utf8").replace("$body$", body).replace("$fonts$", fonts[1])
    (tmp_path / "sheet.typ").write_text(
        re.sub(r"\$if.*?\$endif\$|\$\w+\$", "zh", template).replace('numbering: "1"', "numbering: none"), "utf8"
    )
    made = typst.compile(tmp_path / "sheet.typ", font_paths=fonts[0], format="png", ppi=72.0)
    pixels = np.asarray(Image.open(io.BytesIO(made)).convert("L"))
    assert pixels.shape == (rows * side, columns * side)
    assert boxes(pixels, len(letters), side, columns) == 0


def test_no_chinese_letter_is_an_empty_box_in_a_figure():
    if not report_figures.chinese_font():
        pytest.skip("no Chinese font is here: pip install '.[report]', or fonts-noto-cjk")
    drawing = report_figures.Drawing(Catalogue("zh"))
    columns, side = 20, 30
    rows = -(-(len(HAN) + 1) // columns)
    figure = Figure(figsize=(columns * side / 110, rows * side / 110))
    for i, letter in enumerate(HAN):
        x, y = (i % columns + 0.5) / columns, 1 - (i // columns + 0.5) / rows
        figure.text(x, y, letter, ha="center", va="center", fontsize=12)
    made = drawing(figure, "letters")
    pixels = np.asarray(Image.open(io.BytesIO(made.content)).convert("L"))
    assert boxes(pixels, len(HAN), side, columns) == 0


def test_boxes_are_seen():
    """Two letters that no font has look alike."""
    figure = Figure(figsize=(90 / 110, 30 / 110))
    for i, letter in enumerate("\ue000\ue001"):
        figure.text((i + 0.5) / 3, 0.5, letter, ha="center", va="center", fontsize=12)
    with pytest.warns(UserWarning, match="missing from font"):
        made = report_figures.Drawing(Catalogue("en"))(figure, "letters")
    pixels = np.asarray(Image.open(io.BytesIO(made.content)).convert("L"))
    assert boxes(pixels, 2, 30, 3) > 0


def named(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_each_text_of_the_report_has_its_chinese():
    sources = [
        *TEMPLATES.glob("*.j2"),
        *(TEMPLATES.parents[1] / f"{n}.py" for n in ("report_text", "report_figures", "report_formats")),
    ]
    asked = {m[1] for path in sources for m in re.finditer(r'(?:_|gettext)\("(.*?)"\)', path.read_text("utf8"))}
    lacking = [*re.findall(r'"([^"\n]*\{\w+\}[^"\n]*)"[,:]', (TEMPLATES.parents[1] / "material.py").read_text("utf8"))]
    texts = {text for text in asked | set(lacking) if text[0] not in "{" or text == "{error}"}
    assert len(texts) > 90
    assert sorted(texts - CHINESE.keys()) == []
    assert [text for text in CHINESE if not CHINESE[text].strip()] == []
    for text in texts:
        assert named(CHINESE[text]) <= named(text), text


def test_each_question_of_the_notebooks_has_its_chinese(monkeypatch, tmp_path):
    monkeypatch.setenv("LABUTILS_WORK", str(tmp_path))
    questions = material._questions([])
    assert len(questions) > 40
    assert [q.number for q in questions if " ".join(q.text.split()) not in CHINESE] == []
    for question in questions:  # code and formulas are the same
        chinese = CHINESE[" ".join(question.text.split())]
        assert set(re.findall(r"`.+?`|\d+", question.text)) <= set(re.findall(r"`.+?`|\d+", chinese)), question.number


def test_each_finding_of_a_verdict_has_its_chinese():
    kinds = re.findall(r'"([a-z ]+)"', quality.verdict.__doc__)
    assert len(kinds) >= 9
    assert {f"finding: {kind}" for kind in kinds} <= CHINESE.keys()


def test_a_kind_of_finding_that_is_new_is_said_in_english():
    finding = quality.Finding("rare", "3", 0.01, 0.02, 0.1, 10_000)
    assert report_text.said([finding], Catalogue("zh")) == "缺少或罕见的数字：3 (1%)（低于 2%）。"
    words = Catalogue("zh")
    del words.texts["finding: rare"]
    assert report_text.said([finding], words) == quality.sentences([finding])


def test_a_language_without_a_catalogue_is_english():
    words = Catalogue("en")
    assert words.gettext("Questions") == "Questions"
    assert Catalogue("zh").gettext("Questions") == "思考题"
    assert set(translation.LANGUAGES) == {"en", "zh"}


def test_plain_text_is_shown_as_it_is():
    assert report_text.plain("a_b*c [d](e) <f> `g`\n# h") == r"a\_b\*c \[d\]\(e\) \<f\> \`g\` \# h"
