"""A study's description: what is wrong with it is said by row and field, and it is kept as it was."""

import os
import shutil

import pytest
import tiny
from small_study import ROWS, SMALL, cheap, patch_images

from labutils import runs
from labutils.runs import RunError
from labutils.study import Entry, Study, load_study, records, run_study
from labutils.study import rows as rows_module

GOOD = 'seeds = 2\ncommon = {images = 48}\n[rows."A b"]\nepochs = 4\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rows = 3", r"s\.toml: rows is 3; expected a table"),
        ("seeds = 2", r"s\.toml: there are no rows; expected tables \[rows"),
        ("[rows", r"s\.toml is not TOML: "),
        (GOOD + "epoch = 3", r"s\.toml: row 'A b': 'epoch' is unknown; there are model, epochs, "),
        (GOOD + "seed = 3", r"row 'A b': 'seed' is unknown"),
        (GOOD + "lr = -1", r"row 'A b': lr is -1; expected a positive number"),
        (GOOD + "lr = 'high'", r"row 'A b': lr is 'high'"),
        (GOOD + "model = 'vae'", r"row 'A b': model is 'vae'; use one of 'mlp', 'dcgan'"),
        (GOOD + "measure = [0, 4]", r"row 'A b': measure is \[0, 4\]; expected a list of epochs"),
        (GOOD + "measure = 3", r"row 'A b': measure is 3; expected a list"),
        (GOOD + "seeds = 0", r"row 'A b': seeds is 0; expected a whole number of at least 1"),
        (GOOD + "seeds = 1000000000", r"row 'A b': seeds is 1000000000; expected a whole number of .* at most 1000"),
        (GOOD.replace("4", "1" + "0" * 400), r"row 'A b': epochs is 10+; expected at most 1000000"),
        ("samples = 1000000000\n" + GOOD, r"s\.toml: samples is 1000000000; expected .* at most 100000"),
        ("a = " + "[" * 5000, r"s\.toml is not TOML: "),
        (GOOD + "seeds = true", r"row 'A b': seeds is True"),
        (
            GOOD + "ship_weights = 'all'",
            r"row 'A b': ship_weights is 'all'; expected true, false, or for how many seeds",
        ),
        (GOOD + "[rows.'a B']", r"Two rows would be kept in the folder 'a-b'"),
        (GOOD + "[rows.'?']", r"row '\?': name is '\?'; expected a text with a letter or digit"),
        ("samples = 'all'\n" + GOOD, r"s\.toml: samples is 'all'; expected a whole number"),
        ("colour = 1\n" + GOOD, r"s\.toml: 'colour' is unknown; there are common, rows, samples, seeds, "),
        (GOOD.replace("images", "image"), r"s\.toml: common: 'image' is unknown"),
        (GOOD.replace("48", "0"), r"row 'A b': images is 0; expected a whole number of at least 2"),
    ],
)
def test_a_bad_study_is_told_by_row_and_field(text, said, tmp_path):
    (tmp_path / "s.toml").write_text(text, "utf8")
    with pytest.raises(ValueError, match=said):
        load_study(tmp_path / "s.toml")


def test_a_row_overrides_what_is_common_and_the_last_epoch_is_measured(tmp_path):
    text = "measure = [9, 1]\nseeds = 2\ncommon = {images = 48, epochs = 9}\n[rows.A]\nepochs = 4\n[rows.B]\nseeds = 1"
    (tmp_path / "s.toml").write_text(text, "utf8")
    a, b = load_study(tmp_path / "s.toml").rows
    assert (a.config.images, a.config.epochs, a.measure, a.seeds) == (48, 4, (1, 4), 2)
    assert (b.config.images, b.config.epochs, b.measure, b.seeds) == (48, 9, (1, 9), 1)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_read_over_and_utf_16_refused(encoding, tmp_path):
    (tmp_path / "s.toml").write_bytes(GOOD.replace("\n", "\r\n").encode(encoding))
    if encoding == "utf-16":
        with pytest.raises(ValueError, match=r"s\.toml is not TOML: 'utf-8' codec can't decode"):
            load_study(tmp_path / "s.toml")
    else:
        assert load_study(tmp_path / "s.toml").rows[0].config.images == 48


def test_what_is_no_file_of_sane_size_is_not_read(tmp_path):
    with (tmp_path / "large.toml").open("wb") as file:
        file.truncate(10**11)
    (tmp_path / "folder.toml").mkdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.toml")
    for path in tmp_path.iterdir():
        with pytest.raises(
            ValueError, match=f"{path.name} is no study; expected a TOML file of less than 1,000,000 bytes"
        ):
            load_study(path)
    with pytest.raises(ValueError, match=r"~nouser/s\.toml: nobody here has that home folder"):
        load_study("~nouser/s.toml")


def test_a_missing_study_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"none\.toml cannot be read: No such file"):
        load_study(tmp_path / "none.toml")


def test_the_study_that_comes_with_labutils_can_be_read():
    rows = load_study().rows
    assert {"MLP, weights_init", "MLP, default init", "DCGAN, weights_init"} <= {row.name for row in rows}
    exact = [row for row in rows if row.group != "rate"]  # that one is trained as the presets are, on any machine
    assert all(row.config.threads == 1 and row.config.precision != "auto" for row in exact)  # else runs could differ


def test_seed_by_seed_not_row_by_row():
    rows = [Entry(name, SMALL, seeds=seeds) for name, seeds in (("A", 3), ("B", 1), ("C", 2))]
    names = [(row.name, seed) for row, seed in Study(tuple(rows)).jobs()]
    assert names == [("A", 0), ("B", 0), ("C", 0), ("A", 1), ("C", 1), ("A", 2)]
    assert [(row.name, seed) for row, seed in Study(tuple(rows)).jobs(["C", "A"], 1)] == [("A", 0), ("C", 0)]
    with pytest.raises(ValueError, match="There is no row 'D'; there are: A; B; C"):
        Study(tuple(rows)).jobs(["D"])
    with pytest.raises(ValueError, match="seeds is 0"):
        Study(tuple(rows)).jobs(seeds=0)


@pytest.mark.parametrize(
    ("name", "slug"),
    [("DCGAN's G, MLP's D", "dcgan-s-g-mlp-s-d"), ("lr 1e-3.", "lr-1e-3"), ("多层感知机_α", "多层感知机-α")],
)
def test_the_folder_of_a_row(name, slug):
    assert Entry(name, tiny.config()).slug == slug


def test_the_list_of_rows_is_left_as_it_is_unless_it_is_damaged(whole, tmp_path, few, monkeypatch):
    """Two calls may work in one folder, and both would write the same temporary file."""
    folder = shutil.copytree(whole, tmp_path / "study")
    written = []
    monkeypatch.setattr(rows_module, "write_json", lambda path, content: written.append(path.name))
    run_study(Study(ROWS, 64), folder, score=cheap)
    assert written == []
    monkeypatch.undo()
    (folder / "study.json").write_text("{")
    patch_images(monkeypatch.setattr)
    assert len(run_study(Study(ROWS, 64), folder, score=cheap)) == len(records(whole))


@pytest.mark.parametrize(
    "change", [{"loud": True}, {"seeds": "two"}, {"seeds": 10**9}, {"config": {"model": "mlp", "colour": 1}}]
)
def test_a_study_of_another_version_is_named(change, whole, tmp_path, few):
    folder = shutil.copytree(whole, tmp_path / "study")
    kept = runs.read_json(folder / "study.json")
    runs.write_json(folder / "study.json", kept | {"rows": [kept["rows"][0] | change]})
    with pytest.raises(RunError, match=r"study.json is of another labutils \(.*\): start the study there again"):
        records(folder)
    assert len(run_study(Study(ROWS, 64), folder, score=cheap)) == len(records(whole))
