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


class Section(NamedTuple):
    """A notebook in the page."""

    name: str
    heading: str
    minutes: str
    body: str
    error: str


def lab_page(executed: Sequence[Executed], folder: Path, title: str, note: str) -> tuple[str, list[str]]:
    """One HTML page that holds all notebooks, their figures and formulas, and asks no host for anything.

    Args:
        folder: of the notebooks, where the paths of their pictures begin.
        note: a line beneath the title.
    Returns:
        The page, and a sentence for each thing in it that looks otherwise than in JupyterLab. A notebook that cannot be
        shown whole has an `error` from now on.
    """
    exporter, sections, remarks = _Exporter(), [], []
    for each in executed:
        exporter.error, exporter.remarks = "", []
        minutes = f"{each.seconds / 60:.1f} min" + (", not finished" if each.error else "")
        try:
            body, _ = exporter.from_notebook_node(each.notebook)
            body, left_out = offline(body, folder)
        except Exception as error:  # of nbconvert, for which a notebook can hold anything: the others need their page
            body, left_out = "", []
            exporter.error = f"cannot be put in the page ({type(error).__name__}: {error})."
        each.error = each.error or (exporter.error and f"{each.name}: {exporter.error}")
        remarks += [f"{each.name}: {remark}" for remark in exporter.remarks + left_out]
        sections.append(Section(each.name, _heading(each), minutes, body, each.error))
    page = exporter.environment.get_template("page.html.j2").render(
        title=title, note=note, sections=sections, highlight=HtmlFormatter().get_style_defs(".highlight")
    )
    return page, list(dict.fromkeys(remarks))


def _heading(each: Executed) -> str:
    lines = (line for cell in each.notebook.cells for line in cell.source.splitlines())
    return next((line.strip("# ") for line in lines if line), each.name)


class _Exporter(HTMLExporter):
    """Notebook to HTML with formulas as MathML, which browsers show by themselves, and attachments inside."""

    def __init__(self):
        left_out = {f"exclude_{what}": True for what in ("anchor_links", "input_prompt", "output_prompt")}
        super().__init__(template_name="lab_page", extra_template_basedirs=[str(TEMPLATES)], **left_out)
        self.log.setLevel("ERROR")  # it warns of each figure without a text in its place
        self.error, self.remarks = "", []

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
            self.error = f"the picture {address!r} is not attached to its cell; paste it there again."
            return f'<span class="left-out">{html.escape(self.error)}</span>'
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
