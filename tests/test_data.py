"""The one door to the data: equal to torchvision's, and every bad file is refused with a sentence that names it."""

import gzip
import math
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from idx_files import write
from torchvision import datasets, transforms

from labutils import data
from labutils.data import DataError, check_images, load_mnist, make_loader, scale, unscale


def flip(raw: bytes, position: int) -> bytes:
    changed = bytearray(raw)
    changed[position] ^= 0xFF
    return bytes(changed)


def random_digits(count: int, side: int = 28) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(count)
    images = torch.randint(256, (count, side, side), generator=generator, dtype=torch.uint8)
    return images, torch.randint(10, (count,), generator=generator, dtype=torch.uint8)


@pytest.fixture
def own_assets(tmp_path, monkeypatch):
    """A copy of the package's test split and checksums, to damage."""
    folder = tmp_path / "assets"
    folder.mkdir()
    for name in ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz", "SHA256SUMS"):
        shutil.copy(data.ASSETS / name, folder)
    monkeypatch.setattr(data, "ASSETS", folder)
    return folder


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The package's files, unpacked in torchvision's layout."""
    root = tmp_path_factory.mktemp("torchvision")
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in data.ASSETS.glob("*.gz"):
        (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
    return root


def test_shapes_types_and_range(digits):
    test = load_mnist("test")
    for part, count in ((digits, 60_000), (test, 10_000)):
        assert part.images.shape == (count, 1, 28, 28)
        assert part.images.dtype == torch.float32
        assert (part.images.min(), part.images.max()) == (-1, 1)
        assert part.labels.shape == (count,)
        assert part.labels.dtype == torch.int64
        assert part.labels.unique().tolist() == list(range(10))


@pytest.mark.parametrize("split", ["train", "test"])
def test_equals_torchvision_pixel_for_pixel(split, unpacked):
    steps = [transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))]
    dataset = datasets.MNIST(unpacked, split == "train", transforms.Compose(steps), download=False)
    ours, from_root = load_mnist(split), load_mnist(split, root=unpacked)
    assert len(dataset) == len(ours.images)
    some = range(0, len(dataset), 29)
    assert torch.equal(torch.stack([dataset[i][0] for i in some]), ours.images[:: some.step])
    assert torch.equal(dataset.data, unscale(ours.images).squeeze(1))
    assert torch.equal(dataset.targets, ours.labels)
    assert all(torch.equal(a, b) for a, b in zip(ours, from_root, strict=True))


def test_scale_and_unscale_are_inverse_for_every_byte():
    pixels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(unscale(scale(pixels)), pixels)
    assert unscale(torch.tensor([-1.5, -1.0, 1.0, 1.5])).tolist() == [0, 0, 255, 255]
    assert unscale(torch.tensor([-1.0, 1.0], dtype=torch.bfloat16, requires_grad=True)).tolist() == [0, 255]


def some_images() -> torch.Tensor:
    """48 images in [-1, 1], both ends included."""
    images = torch.rand(48, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1
    images[0, 0, 0, :2] = torch.tensor([-1.0, 1.0])
    return images


def spoilt(value: float) -> torch.Tensor:
    return some_images().index_fill(0, torch.tensor([7, 40]), value)


NOT_IMAGES = [  # what nobody takes for images: the tests of training and of scores have the same and more
    (lambda: [[0.0]], "images is of type list; expected a float.* tensor"),
    (lambda: some_images().numpy(), "images is of type ndarray; expected a float"),
    (lambda: torch.zeros(48, 1, 28, 28, dtype=torch.uint8), r"images is torch.uint8; .*: see labutils.data.scale"),
    (lambda: torch.zeros(()), r"images has shape \(\); expected .* \(N, 1, 28, 28\) in \[-1, 1\], N at least 40\.$"),
    (lambda: some_images()[:, 0], r"shape \(48, 28, 28\); .*: try images.reshape"),
    (lambda: some_images().flatten(1), r"shape \(48, 784\); .*: try images.reshape"),
    (lambda: torch.zeros(48, 1, 28, 27), r"shape \(48, 1, 28, 27\); expected .* N at least 40\.$"),
    (lambda: torch.zeros(48, 3, 28, 28), r"shape \(48, 3, 28, 28\); expected .* N at least 40\.$"),
    (lambda: some_images()[:39], r"39 images are too few.*; expected .* N at least 40"),
    (lambda: some_images()[:1], "1 image is too few"),
    (lambda: some_images()[:0], "0 images are too few"),
    (lambda: some_images().to_sparse(), "Tensor, but sparse, nested or without values; expected a float"),
    (lambda: some_images().to("meta"), "Tensor, but sparse, nested or without values"),
    (
        lambda: torch.nested.as_nested_tensor(list(some_images()), layout=torch.jagged),
        "Tensor, but sparse, nested or without values",
    ),
    (lambda: spoilt(math.nan), "2 of 48 images hold NaN or infinity"),
    (lambda: spoilt(math.inf), "2 of 48 images hold NaN or infinity"),
    (lambda: spoilt(-math.inf), "2 of 48 images hold NaN or infinity"),
    (lambda: some_images() * 255, r"lie in \[-255, 255\]; expected \[-1, 1\], black being -1: see labutils.data.scale"),
    (lambda: (some_images() + 1) * 127.5, r"lie in \[0, 255\]; expected \[-1, 1\]"),
    (lambda: some_images() * 1.01, r"lie in \[-1.01, 1.01\]"),
    (lambda: some_images() / 2 + 0.5, r"lie in \[0, 1\], which looks like \[0, 1\]; .*: try images \* 2 - 1"),
]


@pytest.mark.parametrize("generated", [False, True])
@pytest.mark.parametrize(("images", "sentence"), NOT_IMAGES)
def test_what_is_no_set_of_images_is_refused_in_a_sentence(images, sentence, generated):
    with pytest.raises(ValueError, match=sentence):
        check_images(images(), 40, generated=generated)


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (
            lambda: some_images().double(),
            r"torch.float64; expected a float32 tensor .*: try images.float\(\)",
        ),
        (lambda: some_images() * 1.00001, r"expected \[-1, 1\]"),
        (lambda: torch.zeros(48, 1, 28, 28), r"lie in \[0, 0\], which looks like \[0, 1\]"),
        (lambda: some_images() / 4 + 0.5, r"lie in \[0.25, 0.75\], which looks like \[0, 1\]"),
    ],
)
def test_of_a_generator_more_is_taken_than_of_images_to_train_on(images, sentence):
    with pytest.raises(ValueError, match=sentence):
        check_images(images(), 40)
    taken = check_images(images(), 40, generated=True)
    assert taken.dtype == torch.float32
    assert torch.equal(taken, images().float())


def test_good_images_are_taken_as_they_are_without_a_copy():
    images = some_images().requires_grad_()
    for taken in (check_images(images, 48), check_images(images, 48, generated=True)):
        assert taken.data_ptr() == images.data_ptr()
        assert not taken.requires_grad


@pytest.mark.parametrize("workers", [0, 1])
def test_loader_gives_each_image_once(workers):
    images, labels = random_digits(50)
    digits = data.Digits(scale(images)[:, None], labels.long())
    batches = list(make_loader(digits, batch_size=16, workers=workers))
    assert [len(x) for x, _ in batches] == [16, 16, 16, 2]
    seen, kept = torch.cat([x for x, _ in batches]).flatten(1), digits.images.flatten(1)
    order = (seen[:, None] == kept[None]).all(dim=2).int().argmax(dim=1)
    assert order.sort().values.tolist() == list(range(50))
    assert order.tolist() != list(range(50))
    assert torch.equal(torch.cat([y for _, y in batches]), digits.labels[order])
    assert torch.equal(next(iter(make_loader(digits, 50, shuffle=False)))[0], digits.images)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("layout", ["MNIST/raw", ".", "raw", "FashionMNIST/raw"])
def test_other_data_in_the_same_layout(layout, packed, tmp_path, monkeypatch):
    images, labels = random_digits(50)
    write(tmp_path / layout, images, labels, packed=packed)
    monkeypatch.setenv("LABUTILS_DATA", str(tmp_path))
    for digits in (load_mnist("train", root=tmp_path), load_mnist("train", root=str(tmp_path)), load_mnist()):
        assert torch.equal(digits.images, scale(images).unsqueeze(1))
        assert torch.equal(digits.labels, labels.long())
    with pytest.raises(DataError, match="No t10k-images-idx3-ubyte"):
        load_mnist("test", root=tmp_path)


def test_several_data_sets_in_one_root(tmp_path):
    sets = {name: random_digits(count) for name, count in (("FashionMNIST", 50), ("KMNIST", 40))}
    for name, (images, labels) in sets.items():
        write(tmp_path / name / "raw", images, labels)
    with pytest.raises(DataError, match=r"several data sets \(FashionMNIST, KMNIST\); name one of their folders as"):
        load_mnist(root=tmp_path)
    assert len(load_mnist(root=tmp_path / "KMNIST").images) == 40
    write(tmp_path / "MNIST" / "raw", *random_digits(30))
    assert len(load_mnist(root=tmp_path).images) == 30


@pytest.mark.parametrize("lone", ["train", "t10k"])
def test_training_and_test_images_are_never_of_two_data_sets(lone, tmp_path):
    write(tmp_path / "MNIST" / "raw", *random_digits(30), split=lone)  # the other half of a download is missing
    for split in ("train", "t10k"):
        write(tmp_path / "KMNIST" / "raw", *random_digits(40), split=split)
    there, missing = ("train", "test") if lone == "train" else ("test", "train")
    assert len(load_mnist(there, root=tmp_path).images) == 30
    with pytest.raises(DataError, match=rf"No {data.FILES[missing]}-images-idx3-ubyte .* below .*MNIST.raw; expected"):
        load_mnist(missing, root=tmp_path)


@pytest.mark.parametrize("split", ["validation", "", None])
def test_unknown_split(split):
    with pytest.raises(DataError, match=f"no split {split!r}; use one of 'train', 'test'"):
        load_mnist(split)


@pytest.mark.parametrize("root", ["nowhere", "a_file", "long" * 100])
def test_bad_root(root, tmp_path, monkeypatch):
    (tmp_path / "a_file").write_text("not a folder")
    sentence = rf"No train-images-idx3-ubyte \(plain or .gz\) below .*{root}; expected torchvision's layout"
    with pytest.raises(DataError, match=sentence):
        load_mnist(root=tmp_path / root)
    monkeypatch.setenv("LABUTILS_DATA", str(tmp_path / root))
    with pytest.raises(DataError, match="LABUTILS_DATA unset"):
        load_mnist()


@pytest.mark.parametrize("name", ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"])
@pytest.mark.parametrize("damage", ["truncated", "empty", "one byte", "another good file", "missing"])
def test_a_damaged_package_is_recognised(damage, name, own_assets):
    file = own_assets / name
    raw = file.read_bytes()
    content = {
        "truncated": lambda: raw[: len(raw) // 2],
        "empty": lambda: b"",
        "one byte": lambda: flip(raw, 1000),
        "another good file": lambda: gzip.compress(flip(gzip.decompress(raw), -1), 1),
    }
    file.unlink() if damage == "missing" else file.write_bytes(content[damage]())
    found = "cannot be read" if damage == "missing" else "is not the file that labutils was made with: its SHA-256"
    with pytest.raises(DataError, match=f"{re.escape(str(file))} {found}.* Reinstall labutils.$"):
        load_mnist("test")


def test_a_package_without_checksums_is_recognised(own_assets):
    (own_assets / "SHA256SUMS").unlink()
    with pytest.raises(DataError, match=rf"{re.escape(str(own_assets / 'SHA256SUMS'))} cannot be read"):
        load_mnist("test")


@pytest.mark.parametrize("kind", [0, 1])  # images, labels
@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda raw: raw[:-1], "should hold 50( x 28 x 28)? values of one byte but holds (39199|49)"),
        (lambda raw: raw + b"\0", "should hold 50( x 28 x 28)? values of one byte but holds (39201|51)"),
        (lambda raw: raw[:6], "is not an IDX file"),
        (lambda raw: b"", "is not an IDX file"),
        (lambda raw: bytes([0, 0, 9]) + raw[3:], "is not an IDX file of uint8"),
        (lambda raw: raw[:3] + b"\2" + raw[4:], "is not an IDX file of uint8 in [13]-D"),
        (lambda raw: b"<html>not found</html>", "it starts with b'<htm'"),
        (lambda raw: raw[:4] + b"\xff" * (4 * raw[3]) + raw[16:], "should hold 4294967295"),
        (lambda raw: raw[:4] + bytes(4 * raw[3]), "should hold 0( x 0 x 0)? values"),
    ],
)
def test_a_damaged_plain_file_is_recognised(damage, sentence, kind, tmp_path):
    file = write(tmp_path, *random_digits(50))[kind]
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DataError, match=sentence) as caught:
        load_mnist(root=tmp_path)
    assert str(file) in str(caught.value)
    assert str(caught.value).endswith("Copy the file again from where it came.")


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("damage", [lambda raw: raw[: len(raw) // 2], lambda raw: b"", lambda raw: b"not gzip"])
def test_a_damaged_packed_file_is_recognised(damage, kind, tmp_path):
    file = write(tmp_path, *random_digits(50), packed=True)[kind]
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DataError, match=r"is not a complete gzip file|is not an IDX file") as caught:
        load_mnist(root=tmp_path)
    assert str(file) in str(caught.value)


def test_a_flipped_byte_anywhere_in_a_packed_file_never_gives_other_digits(tmp_path):
    images, labels = random_digits(50)
    file = write(tmp_path, images, labels, packed=True)[1]
    raw = file.read_bytes()
    complaints = []
    for position in range(len(raw)):
        file.write_bytes(flip(raw, position))
        try:
            assert torch.equal(load_mnist(root=tmp_path).labels, labels.long())  # a byte that says nothing: the time
        except DataError as error:
            complaints.append(str(error))
    assert len(complaints) > len(raw) / 2
    assert [text for text in complaints if str(file) not in text] == []


@pytest.mark.parametrize("named", ["idx", ".idx"])
@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("packed", [False, True])
def test_both_spellings_and_whatever_the_ending_says(named, ending, packed, tmp_path):
    images, labels = random_digits(50)
    for file in write(tmp_path, images, labels, packed=packed):
        name = file.name.removesuffix(".gz").replace("-idx", ".idx") if named == ".idx" else file.name.split(".")[0]
        file.rename(tmp_path / f"{name}{ending}")
    found = load_mnist(root=tmp_path)
    assert torch.equal(unscale(found.images).squeeze(1), images)
    assert torch.equal(found.labels, labels.long())


def test_a_folder_in_the_name_of_a_file_is_passed_over(tmp_path):
    images, labels = random_digits(50)
    for file in write(tmp_path, images, labels):
        file.rename(tmp_path / file.name.replace("-idx", ".idx"))
        file.mkdir()
    assert len(load_mnist(root=tmp_path).images) == 50


def test_a_file_of_no_sane_size_is_refused_before_it_is_read(tmp_path):
    file = write(tmp_path, *random_digits(50))[0]
    with file.open("r+b") as sparse:
        sparse.truncate(2**35)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte is 34,359,738,368 bytes large, more than any such"):
        load_mnist(root=tmp_path)


def test_the_data_are_made_once_a_process(monkeypatch):
    first = load_mnist("test")
    monkeypatch.setattr(data, "scale", None)  # which would make them
    assert torch.equal(load_mnist("test").images, first.images)


def test_who_writes_into_the_data_changes_them_for_nobody_else():
    before, other = load_mnist("test"), load_mnist("test")
    kept = before.images.clone(), before.labels.clone()
    other.images[:100].zero_()
    other.images.data[200:300] = 0.5
    other.images.numpy()[400:500] = 0.5
    other.labels.fill_(3)
    load_mnist("test").images.squeeze_(1)
    other.images.requires_grad_()
    for digits in (before, load_mnist("test")):
        assert torch.equal(digits.images, kept[0])
        assert torch.equal(digits.labels, kept[1])
        assert not digits.images.requires_grad
    assert float(other.images[0].detach().abs().sum()) == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_further_callers_take_no_further_memory():
    def own_memory() -> int:
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(lines["RssAnon"].split()[0]) * 1024

    held, before = [load_mnist("test")], own_memory()
    for _ in range(4):
        held.append(load_mnist("test"))
        held[-1].images.sum()
    assert own_memory() - before < held[0].images.nbytes


def test_data_loaded_in_inference_mode_can_be_trained_on(tmp_path):
    write(tmp_path, *random_digits(50))
    with torch.inference_mode():
        images = load_mnist(root=tmp_path).images
    (images * torch.ones(1, requires_grad=True)).sum().backward()


def test_without_room_for_a_shared_copy_each_caller_has_its_own(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError("no space left")

    monkeypatch.setattr(os, "memfd_create", full, raising=False)
    write(tmp_path, *random_digits(50))
    first, second = load_mnist(root=tmp_path), load_mnist(root=tmp_path)
    first.images.zero_()
    assert second.images.any()


@pytest.mark.parametrize("by", ["memory that looks like a file", "a file"])
def test_a_changed_file_is_read_anew(by, tmp_path, monkeypatch):
    if by == "a file":
        monkeypatch.delattr(os, "memfd_create", raising=False)
    for count in (50, 40, 50):
        images, labels = random_digits(count)
        write(tmp_path, images, labels)
        assert torch.equal(unscale(load_mnist(root=tmp_path).images).squeeze(1), images)


def test_missing_labels(tmp_path):
    write(tmp_path, *random_digits(50))[1].unlink()
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte.gz cannot be read \(No such file"):
        load_mnist(root=tmp_path)


def test_counts_that_differ(tmp_path):
    images, labels = random_digits(50)
    write(tmp_path, images, labels[:49])
    with pytest.raises(
        DataError, match="train-images-idx3-ubyte holds 50 images but train-labels-idx1-ubyte 49 labels"
    ):
        load_mnist(root=tmp_path)


def test_images_of_another_size(tmp_path):
    write(tmp_path, *random_digits(50, side=27))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte holds images of \(27, 27\) pixels; .* \(28, 28\)"):
        load_mnist(root=tmp_path)


@pytest.mark.parametrize(
    ("kind", "header", "found"),
    [
        (0, bytes([0, 0, 13, 3]), r"uint8 in 3-D: it holds float32 in 3-D\. If it is the right file, convert it"),
        (0, bytes([0, 0, 11, 3]), r"uint8 in 3-D: it holds int16 in 3-D"),
        (0, bytes([0, 0, 8, 4]), r"uint8 in 3-D: it holds uint8 in 4-D"),
        (1, bytes([0, 0, 12, 2]), r"uint8 in 1-D: it holds int32 in 2-D"),  # QMNIST's labels
        (0, b"PK\3\4", r"It is a \.zip: unpack it"),
    ],
)
def test_a_good_file_of_another_kind_is_not_called_a_bad_copy(kind, header, found, tmp_path):
    file = write(tmp_path, *random_digits(50))[kind]
    file.write_bytes(header + file.read_bytes()[4:])
    with pytest.raises(DataError, match=found):
        load_mnist(root=tmp_path)


def test_images_by_other_names_are_named(tmp_path):
    names = ("emnist-letters-train", "emnist-letters-test")  # as torchvision unpacks EMNIST
    for name in names:
        write(tmp_path / "EMNIST" / "raw", *random_digits(30), split=name)
    with pytest.raises(DataError, match=r"There are emnist-letters-test-images-idx3-ubyte, emnist-.*: rename"):
        load_mnist(root=tmp_path)
    write(tmp_path / "half", *random_digits(30))  # its training images are not to be renamed to test images
    with pytest.raises(DataError, match="No t10k-images-idx3-ubyte") as caught:
        load_mnist("test", root=tmp_path / "half")
    assert "rename" not in str(caught.value)


@pytest.mark.parametrize(("make", "span"), [(lambda x: x // 128, "0 to 1"), (lambda x: x * 0 + 128, "128 to 128")])
def test_images_in_which_nothing_could_be_seen_are_refused(make, span, tmp_path):
    images, labels = random_digits(50)
    write(tmp_path, make(images), labels)
    with pytest.raises(DataError, match=f"has pixels from {span} only; expected 0, black, to 255, white"):
        load_mnist(root=tmp_path)


def test_a_kind_of_tensor_of_another_package_is_taken_as_a_tensor():
    class Pictures(torch.Tensor):
        """Keeps its kind in every operation, as those of some packages do."""

    assert type(check_images(some_images().as_subclass(Pictures), 40)) is torch.Tensor
