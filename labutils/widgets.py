"""What moves in the notebooks: sliders that also leave a picture where no kernel runs."""

import io
from collections.abc import Callable, Sequence

import ipywidgets
import matplotlib.pyplot as plt
from IPython.display import Image, display
from matplotlib.figure import Figure

from labutils import plots
from labutils.runs import Run


def stepper(draw: Callable[[int], object], labels: Sequence[str], start: int = 0) -> ipywidgets.SelectionSlider:
    """Show `draw(start)` and beneath it a slider, with a play button, that redraws the picture for each of `labels`.

    The picture is an ordinary output: it stays in the saved notebook, with or without a kernel.

    Args:
        draw: takes an index into `labels`; returns a matplotlib Figure or anything else that a notebook can show.
        labels: what the slider says at each step, such as "epoch 3"; at least one, all different.
        start: the index shown first; negative counts from the end.
    Returns:
        The slider, already shown: end the cell with `;` so that it is not shown twice.
    Raises:
        ValueError: there are no labels, or `start` is no index into them.
    """
    if not -len(labels) <= start < len(labels):
        raise ValueError(f"start is {start} but there are {len(labels)} labels; pass one or more, and an index of one.")
    start %= len(labels)
    picture = display(_finished(draw(start)), display_id=True)
    slider = ipywidgets.SelectionSlider(
        options=[(label, i) for i, label in enumerate(labels)], value=start, layout={"width": "28em"}
    )
    play = ipywidgets.Play(value=start, max=len(labels) - 1, interval=400, show_repeat=False)
    ipywidgets.jslink((play, "value"), (slider, "index"))
    slider.observe(lambda change: picture.update(_finished(draw(change["new"]))), "value")
    without_kernel = {"text/plain": f"(a slider from {labels[0]} to {labels[-1]}: run the cell to move it)"}
    display(ipywidgets.HBox([play, slider])._repr_mimebundle_() | without_kernel, raw=True)
    return slider


def _finished(picture: object) -> object:
    """The picture, taken from pyplot so that the notebook does not show it a second time."""
    if isinstance(picture, Figure):
        plt.close(picture)
    return picture


class LiveView:
    """Watch a training: `train(config, on_epoch=LiveView())` draws samples and loss curves in one place.

    After each epoch one picture of constant size is replaced, so nothing jumps; the last one stays in the notebook.
    """

    def __init__(self):
        self._handle = None

    def __call__(self, run: Run) -> None:
        png = io.BytesIO()
        plots.progress(run).savefig(png, dpi=80)
        picture = Image(png.getvalue(), width=720, height=320)
        if self._handle is None:
            self._handle = display(picture, display_id=True)
        else:
            self._handle.update(picture)
