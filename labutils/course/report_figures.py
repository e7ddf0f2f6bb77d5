"""The figures of a student's report, each made from the folder of a run; none is pasted."""

from __future__ import annotations

import base64
import html
import importlib.util
import io
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jinja2
import matplotlib
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.text import Text

from labutils import graphs, plots, quality
from labutils.course.material import figure_epochs
from labutils.course.translation import TEMPLATES, Catalogue
from labutils.engine.fonts import use_cjk
from labutils.models import NETWORK_SETTINGS, build
from labutils.runs import Run
from labutils.runs.checkpoint import grid
from labutils.study.plots import collapse_meter

FONT_PACKAGE = "pylopdf_fonts_zh_cn"  # Noto Sans SC under the Open Font License, of `pip install ".[report]"`
CHINESE = "Noto Sans SC|Noto Sans CJK SC|Source Han Sans SC|Microsoft YaHei|PingFang SC|Hiragino Sans GB|SimHei"
CHINESE = [*CHINESE.split("|"), "Heiti SC", "Noto Sans CJK JP", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei"]


@dataclass
class Picture:
    """One figure: "svg" or "png", its bytes, and what it shows, in words, for who cannot see it."""

    kind: str
    content: bytes
    alt: str

    @property
    def address(self) -> str:
        """The picture itself, as an address that asks no host."""
        kind = self.kind.replace("svg", "svg+xml")
        return f"data:image/{kind};base64,{base64.b64encode(self.content).decode()}"

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        image = f'<img alt="{html.escape(self.alt)}" style="max-width: 100%; background: white" src="{self.address}">'
        return {"text/plain": self.alt, "text/html": image}


def font_folder() -> Path | None:
    """Of the font that comes with `pip install ".[report]"`; None without it."""
    spec = importlib.util.find_spec(FONT_PACKAGE)
    return Path(spec.origin).parent if spec and spec.origin else None


@cache
def chinese_font() -> str | None:
    """The font whose Chinese letters figures have from now on, the report's own first; None where none is found."""
    folder = font_folder()
    return (use_cjk([str(folder)]) if folder else None) or use_cjk()


def all_figures(found: dict[str, Run], scores: dict[str, quality.Quality], words: Catalogue) -> dict[str, Picture]:
    """Figures 1 to 7, and a collapse meter for each scored run of the two, as far as there are runs for them.

    Their labels are in the language of `words` where a font has its letters.
    """
    _ = words.gettext
    about = _("Diagram: noise goes into G; fakes and real samples into D")
    figures = {"1": Picture("svg", _concept(words).encode(), about)}
    mlp, dcgan = found.get("mlp"), found.get("dcgan")
    settings = mlp.config["train"] if mlp else {"model": "mlp", "z_dim": 100}
    of_networks = {k: settings[k] for k in NETWORK_SETTINGS if k in settings}
    generator, discriminator = build(**of_networks | {"init": "default"})
    fake = generator(torch.zeros(128, settings["z_dim"]))
    for number, output, network in (
        ("2", fake, {"G": generator}),
        ("3", discriminator(fake.detach()), {"D": discriminator}),
    ):
        graph = graphs.draw(output, **network)
        count = len(graphs.functions(output))
        if graph.svg:
            alt = _("Graph of {count} functions, from the parameters down to the output").format(count=count)
            figures[number] = Picture("svg", graph.svg.encode(), alt)
    draw = Drawing(words)
    if mlp and (epochs := figure_epochs(mlp)):
        last = epochs[-1]
        grids, about = plots.sample_grids(mlp, epochs), _("Grids of 64 samples each, at {count} epochs of the training")
        figures["4"] = draw(grids, about, count=len(epochs))
        figures["5"] = draw(plots.sample_grids(mlp, [last]), _("Grid of 64 samples after epoch {epoch}"), epoch=last)
        row = mlp.history[-1]
        losses = _("Loss curves; at the end L_D is {d:.2f} and L_G is {g:.2f}")
        figures["6"] = draw(plots.loss_curves(mlp.history), losses, d=row["d_loss"], g=row["g_loss"])
    if mlp and dcgan:
        figures["7"] = draw(_side_by_side(mlp, dcgan), _("64 samples of the MLP beside 64 of the DCGAN"))
    for model, numbers in scores.items():
        alt = _("Bars: the share of each digit; coverage {coverage:.2f}")
        figures[f"meter-{model}"] = draw(collapse_meter(numbers, ""), alt, coverage=numbers.coverage)
    return figures


class Drawing:
    """Turns a figure into a PNG whose labels are in the report's language."""

    def __init__(self, words: Catalogue):
        self.words, self.chinese = words, words.texts and chinese_font()  # before a figure is begun

    def __call__(self, figure: Figure, alt: str, **numbers) -> Picture:
        picture = io.BytesIO()
        with matplotlib.rc_context({"axes.unicode_minus": False}):
            if self.chinese:
                for text in figure.findobj(Text):
                    text.set_text(self._translated(text.get_text()))
            figure.savefig(picture, format="png", dpi=110)
        return Picture("png", picture.getvalue(), alt.format(**numbers))

    def _translated(self, text: str) -> str:
        """By the catalogue, which has {} in place of each number."""
        numbers = re.findall(r"\d+(?:\.\d+)?", text)
        pattern = re.sub(r"\d+(?:\.\d+)?", "{}", text)
        found = self.words.texts.get(text) or self.words.texts.get(pattern)
        return found.format(*numbers) if found else text


def _concept(words: Catalogue) -> str:
    """Figure 1, drawn by code."""
    environment = jinja2.Environment(autoescape=True)
    template = environment.from_string((TEMPLATES / "figure1.svg.j2").read_text("utf8"))
    return template.render(_=words.gettext, font=", ".join(["sans-serif", *CHINESE]))


def _side_by_side(mlp: Run, dcgan: Run) -> Figure:
    """64 samples of each for the same noise, none chosen."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 4.8), layout="constrained")
    for axis, run in zip(axes, (mlp, dcgan), strict=True):
        noise = torch.randn(64, run.config["train"]["z_dim"], generator=torch.Generator().manual_seed(7))
        axis.imshow(grid(run.generator(), noise), cmap="gray", vmin=0, vmax=255)
        axis.set_axis_off()
        axis.set_title(f"{run.config['train']['model'].upper()}, epoch {run.epochs}")
    plt.close(figure)
    return figure
