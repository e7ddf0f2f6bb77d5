"""What was done to all images, and copies and repeats, are seen in the pixels; of honest images nothing is said."""

import math

import pytest
import torch
import torch.nn.functional as F

from labutils.data import Digits
from labutils.quality import pixels

N = 2_000


@pytest.fixture(scope="module")
def real(digits):
    """A tenth of the training images, what is known of them, and as many others as are looked at."""
    chosen = torch.randperm(60_000, generator=torch.Generator().manual_seed(0))[:8_000]
    few = Digits(digits.images[chosen], digits.labels[chosen])
    return few, pixels.looks(few), pixels.outline(few.images)


@pytest.fixture(scope="module")
def fresh(held_out):
    chosen = torch.randperm(10_000, generator=torch.Generator().manual_seed(1))[:N]
    return held_out.images[chosen], held_out.labels[chosen]


def compared(images, labels, real):
    return pixels.compare(images, labels.bincount(minlength=10).float() / len(labels), real[1])


def rotated(x, degrees):
    turn = math.radians(degrees)
    matrix = torch.tensor([[math.cos(turn), -math.sin(turn), 0], [math.sin(turn), math.cos(turn), 0]])
    grid = F.affine_grid(matrix.expand(len(x), 2, 3), x.shape, align_corners=False)
    return F.grid_sample(x + 1, grid, align_corners=False) - 1


def bent(x, aside):
    """Each row moved by a function of its height, -1 to 1, in halves of the width: its black edges are no cut."""
    row = torch.linspace(-1, 1, 28)
    grid = torch.stack([row + aside(row)[:, None], row[:, None].expand(28, 28)], 2).expand(len(x), 28, 28, 2)
    return F.grid_sample(x + 1, grid, align_corners=False) - 1


def dotted(x, level, places):
    x = x.clone()
    for row, column in places:
        x[:, :, row, column] = level
    return x


CORNERS = [(3, 3), (3, 24), (24, 3), (24, 24)]
CHECKER = torch.tensor([[float((i + j) % 2) for j in range(28)] for i in range(28)])
PLACED = {  # what is said -> what was done
    "shifted, 1 right": lambda x: x.roll(1, 3),
    "shifted, 1 up": lambda x: x.roll(-1, 2),
    "shifted, 2 down and 1 left": lambda x: x.roll((2, -1), (2, 3)),
    "rotated by 10° counter-clockwise": lambda x: rotated(x, 10),
    "rotated by 10° clockwise": lambda x: rotated(x, -10),
    "rotated by 90° counter-clockwise": lambda x: torch.rot90(x, 1, (2, 3)),
    "mirrored left to right": lambda x: x.flip(3),
    "mirrored top to bottom": lambda x: x.flip(2),
    "mirrored along the diagonal": lambda x: x.transpose(2, 3),
    "negatives, black and white exchanged": lambda x: -x,
    "slanted to the left": lambda x: bent(x, lambda row: -0.2 * row),
    "slanted to the right": lambda x: bent(x, lambda row: 0.3 * torch.sin(3 * row)),
}
HARMLESS = {
    "real": lambda x: x,
    "blurred": lambda x: F.avg_pool2d(F.pad(x, (2, 2, 2, 2), value=-1.0), 5, stride=1),
    "thicker": lambda x: pixels.thicker(x, 2),
    "thinner": lambda x: -pixels.thicker(-x, 2, 1.0),
    "paler": lambda x: (x + 1) / 2 - 1,
    "shifted by one, each its own way": lambda x: torch.cat([x[: N // 2].roll(1, 3), x[N // 2 :].roll(-1, 3)]),
    "a smaller network's ground": lambda x: x.clamp(min=-0.99),
}
ADDED = {
    "white dots": lambda x: dotted(x, 1.0, CORNERS),
    "grey dots": lambda x: dotted(x, -0.6, CORNERS),
    "dots in the middle": lambda x: dotted(x, 1.0, [(13, 13), (13, 14)]),
    "one faint dot": lambda x: dotted(x, -0.9, [(2, 14)]),
    "a rim": lambda x: F.pad(x[:, :, 1:-1, 1:-1], (1, 1, 1, 1), value=-0.9),
    "a checkerboard": lambda x: (x + 0.3 * CHECKER).clamp(max=1),
    "a grey ground": lambda x: (x + 0.2).clamp(max=1),
}


@pytest.mark.parametrize("said", PLACED)
def test_what_moved_all_images_is_named(said, fresh, real):
    found = compared(PLACED[said](fresh[0]), fresh[1], real)
    assert found["placement"] == said
    assert found["never"] == 0 or said.startswith(("mirrored", "rotated", "negatives"))


@pytest.mark.parametrize("name", HARMLESS)
def test_what_moved_none_and_lies_on_none_is_not_accused_of_it(name, fresh, real):
    found = compared(HARMLESS[name](fresh[0]), fresh[1], real)
    assert (found["placement"], found["always"], found["never"]) == ("", 0, 0)


@pytest.mark.parametrize("name", ADDED)
def test_what_lies_on_all_images_is_found(name, fresh, real):
    found = compared(ADDED[name](fresh[0]), fresh[1], real)
    assert found["always"] >= 1
    assert (found["placement"], found["never"]) == ("", 0)


def test_what_is_cut_out_of_all_images_is_found(fresh, real):
    barred = fresh[0].clone()
    barred[:, :, 12:15] = -1
    found = compared(barred, fresh[1], real)
    assert found["never"] > 20
    assert (found["placement"], found["always"]) == ("", 0)
    hole = fresh[0].clone()
    hole[:, :, 14, 14] = -1
    assert compared(hole, fresh[1], real)["never"] == 1


def test_images_of_few_classes_are_compared_with_those(fresh, real):
    ones = fresh[1] == 1
    found = compared(fresh[0][ones], fresh[1][ones], real)
    assert (found["always"], found["never"]) == (0, 0)
    assert found["ink"] == pytest.approx(1, abs=0.1)


def test_ink_grey_and_specks_are_what_they_say(fresh, real):
    plain = compared(*fresh, real)
    assert plain["ink"] == pytest.approx(1, abs=0.05)
    assert plain["specks"] < 0.001
    pale = compared((fresh[0] + 1) / 2 - 1, fresh[1], real)
    assert pale["ink"] == pytest.approx(plain["ink"] / 2)
    assert pale["grey"] == 1
    salt = torch.rand(fresh[0].shape, generator=torch.Generator().manual_seed(0)) < 0.01
    assert compared(fresh[0].masked_fill(salt, 1.0), fresh[1], real)["specks"] == pytest.approx(0.01, abs=0.001)


SAME = 0.4 * 0.25  # of the sine of a 1, which is the least


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x,
        lambda x: x.roll(1, 3),
        lambda x: x.roll((-1, 1), (2, 3)),
        lambda x: pixels.thicker(x, 2),
        lambda x: (x + 1) * 0.7 - 1,
    ],
    ids=["as it is", "shifted", "shifted both ways", "thicker", "paler"],
)
def test_a_copy_is_found_however_it_was_changed(change, real):
    few, _, outlines = real
    found = pixels.to_training(change(few.images[:100]), few.labels[:100], few, outlines)
    assert (found < SAME).float().mean() > 0.4


def test_new_digits_are_no_copies(fresh, real):
    found = pixels.to_training(fresh[0][:200], fresh[1][:200], real[0], real[2])
    assert found.min() > SAME
    assert found.max() <= 1


def test_the_sine_is_that_of_the_angle_between_images():
    images = torch.full((2, 1, 28, 28), -1.0)
    images[0, 0, 0, 0], images[1, 0, 0, 1] = 1.0, 0.5
    others = images.flip(0)[:, 0][:, None].expand(-1, 3, -1, -1)
    torch.testing.assert_close(pixels.sine(images, others), torch.ones(2))
    torch.testing.assert_close(pixels.sine(images, images / 2 - 0.5), torch.zeros(2), atol=1e-3, rtol=0)


def test_a_repeat_is_found_though_it_was_shifted_by_a_pixel(fresh):
    x = fresh[0][:200]
    for move in ((0, 0), (1, 0), (-1, 1)):
        assert pixels.shifted_sine(x, x.roll(move, (2, 3))).max() < SAME
    assert pixels.shifted_sine(x, x.roll(2, 3)).median() > SAME
    assert pixels.shifted_sine(x[1:], x[:-1]).min() > SAME
