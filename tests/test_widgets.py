"""The stepper shows the first picture as an ordinary output and redraws it when its slider moves; so does LiveView."""

import io

import matplotlib.pyplot as plt
import pytest
from PIL import Image

from labutils import widgets
from labutils.training import TrainConfig, train


def test_moving_the_slider_draws_that_step(shown):
    slider = widgets.stepper(lambda i: f"picture {i}", ["epoch 1", "epoch 5", "epoch 9"], start=-1)
    assert shown.pictures == ["picture 2"]
    slider.index = 0
    assert shown.pictures == ["picture 2", "picture 0"]
    assert "from epoch 1 to epoch 9" in shown.bundles[0]["text/plain"]
    assert "application/vnd.jupyter.widget-view+json" in shown.bundles[0]


def test_figures_are_closed_so_that_a_cell_shows_them_once(shown):
    widgets.stepper(lambda i: plt.figure(), ["a", "b"]).index = 1
    assert len(shown.pictures) == 2
    assert plt.get_fignums() == []


@pytest.mark.parametrize(("labels", "start"), [([], 0), (["a"], 1), (["a", "b"], -3)])
def test_a_start_that_is_no_step_is_refused(shown, labels, start):
    with pytest.raises(ValueError, match=f"start is {start} but there are {len(labels)} labels"):
        widgets.stepper(str, labels, start)


def test_live_view_replaces_one_picture_of_constant_size(shown, digits, tmp_path):
    view = widgets.LiveView()
    config = TrainConfig(epochs=3, images=64, batch_size=32, device="cpu", threads=1)
    train(config, tmp_path / "run", images=digits.images, on_epoch=view, progress=False)
    pictures = [picture.data for picture in shown.pictures]
    assert len(set(pictures)) == 3
    assert {Image.open(io.BytesIO(png)).size for png in pictures} == {(720, 320)}
    assert shown.displays == 1
    assert plt.get_fignums() == []
