"""The pictures show the numbers and samples that a run holds."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from labutils import plots
from labutils.training import TrainConfig, train


@pytest.fixture(scope="module")
def run(digits, tmp_path_factory):
    config = TrainConfig(epochs=3, images=64, batch_size=32, device="cpu", precision="float32", threads=1)
    return train(config, tmp_path_factory.mktemp("plots") / "run", images=digits.images, progress=False)


def drawn(axes) -> dict:
    """What each labelled curve of more than two points shows."""
    return {line.get_label(): list(line.get_ydata()) for line in axes.get_lines() if len(line.get_ydata()) > 2}


def test_loss_curves_draw_every_column_under_its_own_name(run):
    left, right = plots.loss_curves(run.history).axes
    column = {key: [row[key] for row in run.history] for key in run.history[0]}
    assert drawn(left) == {
        "D, epoch mean": column["d_loss"],
        "D, last batch": column["d_loss_last"],
        "G, epoch mean": column["g_loss"],
        "G, last batch": column["g_loss_last"],
    }
    assert drawn(right) == {
        "D correct: real": column["d_accuracy_real"],
        "D's mean output: real": column["d_real"],
        "D correct: generated": column["d_accuracy_fake"],
        "D's mean output: generated": column["d_fake"],
    }
    levels = sorted(line.get_ydata()[0] for line in left.get_lines() if len(line.get_ydata()) == 2)
    assert levels == pytest.approx([np.log(2), 2 * np.log(2)])


def test_sample_grids_and_progress_show_the_grids_of_their_epochs(run):
    figure = plots.sample_grids(run, [0, 3, 1], columns=2)
    shown = [(axes.get_title(), axes.get_images()[0].get_array()) for axes in figure.axes if axes.get_images()]
    assert [title for title, _ in shown] == ["epoch 0", "epoch 3", "epoch 1"]
    for (_, image), epoch in zip(shown, (0, 3, 1), strict=True):
        np.testing.assert_array_equal(image, np.array(run.grid(epoch)))
    np.testing.assert_array_equal(plots.progress(run).axes[0].get_images()[0].get_array(), np.array(run.grid(3)))


def test_show_digits_puts_them_row_by_row():
    images = torch.linspace(-1, 1, 3).reshape(3, 1, 1, 1).expand(3, 1, 28, 28)
    canvas = plots.show_digits(images, columns=2).axes[0].get_images()[0].get_array()
    assert [canvas[15, 15], canvas[15, 45], canvas[45, 15], canvas[45, 45]] == [-1, 0, 1, 1]


def test_nothing_to_draw_gets_a_sentence():
    untrained = SimpleNamespace(history=[], epochs=0)
    for draw in (
        lambda: plots.show_digits(torch.ones(0, 1, 28, 28)),
        lambda: plots.sample_grids(untrained, []),
        lambda: plots.loss_curves([]),
        lambda: plots.progress(untrained),
    ):
        with pytest.raises(ValueError, match=r"^There is nothing to draw: .*\.$"):
            draw()


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (np.zeros((4, 1, 28, 28)), "images is of type ndarray; expected a float tensor"),
        (torch.zeros(4, 1, 28, 28, dtype=torch.uint8), r"torch.uint8 of shape \(4, 1, 28, 28\); .*labutils.data.scale"),
        (torch.zeros(4, 3, 28, 28), r"of shape \(4, 3, 28, 28\); expected a float tensor \(N, 1, 28, 28\)"),
        (torch.zeros(28, 28), r"of shape \(28, 28\); expected"),
        (torch.zeros(()), r"of shape \(\); expected"),
    ],
)
def test_what_are_no_images_gets_a_sentence(images, sentence):
    with pytest.raises(ValueError, match=sentence):
        plots.show_digits(images)


def test_too_few_labels_and_no_column(run):
    with pytest.raises(ValueError, match="There are 2 labels but 4 images"):
        plots.show_digits(torch.zeros(4, 1, 28, 28), [7, 1])
    assert len(plots.sample_grids(run, [0, 1], columns=0).axes) == 2
