"""The lab's page: all executed notebooks in one HTML file that needs no network, with formulas as MathML."""

import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from jinja2 import pass_context
from math_core import LatexError, LatexToMathML
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter

from labutils.course.notebooks import Executed
from labutils.course.offline import offline

TEMPLATES = Path(__file__).parent / "templates"
ATTACHED = re.compile(r"""<img\b[^>]*?\bsrc=(["'])attachment:(.*?)\1[^>]*>""", re.DOTALL)


class Page(NamedTuple):
    """The page, a sentence for each notebook that is not whole in it, and one for each thing that looks otherwise."""

    html: str
    failures: list[str]
    remarks: list[str]


class Section(NamedTuple):
    """A notebook in the page."""

    name: str
    heading: str
    minutes: str
    body: str
    failures: list[str]


def lab_page(executed: Sequence[Executed], folder: Path, title: str, note: str) -> Page:
    """One HTML page that holds all notebooks, their figures and formulas, and asks no host for anything.

    Args:
        folder: of the notebooks, where the paths of their pictures begin.
        note: a line beneath the title.
    """
    exporter, sections, failures, remarks = _Exporter(), [], [], []
    for each in executed:
        exporter.failures, exporter.remarks = [], []
        try:
            body, _ = exporter.from_notebook_node(each.notebook)
            body, left_out = offline(body, folder)
        except Exception as error:  # of nbconvert, for which a notebook can hold anything: the others need their page
            body, left_out = "", []
            exporter.failures = [f"cannot be put in the page ({type(error).__name__}: {error})."]
        failures += [f"{each.name}: {failure}" for failure in exporter.failures]
        remarks += [f"{each.name}: {remark}" for remark in exporter.remarks + left_out]
        minutes = f"{each.seconds / 60:.1f} min" + (", not finished" if each.error else "")
        said = [each.error] * bool(each.error) + exporter.failures
        sections.append(Section(each.name, _heading(each), minutes, body, said))
    page = exporter.environment.get_template("page.html.j2").render(
        title=title, note=note, sections=sections, highlight=HtmlFormatter().get_style_defs(".highlight")
    )
    return Page(page, failures, list(dict.fromkeys(remarks)))


def _heading(each: Executed) -> str:
    lines = (line for cell in each.notebook.cells for line in cell.source.splitlines())
    return next((line.strip("# ") for line in lines if line), each.name)


class _Exporter(HTMLExporter):
    """Notebook to HTML with formulas as MathML, which browsers show by themselves, and attachments inside."""

    def __init__(self):
        super().__init__(
            template_name="lab_page",
            extra_template_basedirs=[str(TEMPLATES)],
            exclude_anchor_links=True,
            exclude_input_prompt=True,
            exclude_output_prompt=True,
        )
        self.log.setLevel("ERROR")  # it warns of each figure without a text in its place
        self.failures, self.remarks = [], []

    @pass_context
    def markdown2html(self, context, source):
        renderer = _Renderer(escape=False, exclude_anchor_links=self.exclude_anchor_links)
        renderer.remarks = self.remarks
        attachments = context.get("cell", {}).get("attachments", {})
        return ATTACHED.sub(lambda found: self._attached(found, attachments), MarkdownWithMath(renderer).render(source))

    def _attached(self, found: re.Match, attachments: dict) -> str:
        address = html.unescape(found[2])
        kinds = attachments.get(address) or attachments.get(unquote(address))
        if not kinds:
            self.failures.append(f"the picture {address!r} is not attached to its cell; paste it there again.")
            return f'<span class="left-out">{html.escape(self.failures[-1])}</span>'
        kind = min(kinds, key=lambda kind: (kind != "image/svg+xml", kind != "image/png"))
        return found[0].replace(f"attachment:{found[2]}", f"data:{kind};base64,{html.escape(kinds[kind])}")


class _Renderer(IPythonRenderer):
    def image(self, *arguments, **named):
        return super(IPythonRenderer, self).image(*arguments, **named)  # its own ends everything for a lost attachment

    def inline_math(self, body):
        return self._mathml(body, displaystyle=False)

    def block_math(self, body):
        return self._mathml(body, displaystyle=True)

    def latex_environment(self, name, body):
        return self._mathml(rf"\begin{{{name}}}{body}\end{{{name}}}", displaystyle=True)

    def _mathml(self, tex, displaystyle):
        try:
            return LatexToMathML(fancy_error=False).convert_with_local_state(tex, displaystyle=displaystyle)
        except LatexError:
            self.remarks.append(f"a formula is shown as TeX: {tex.strip()}")
            return f"<code>{html.escape(tex)}</code>"
