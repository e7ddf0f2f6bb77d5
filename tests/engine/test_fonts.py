"""Chinese in figures: drawn where a font has it, one sentence where none does; with and without a font here."""

import subprocess
import sys
import warnings

import matplotlib.pyplot as plt
import pytest
from matplotlib import font_manager

from labutils.engine import fonts


@pytest.fixture(autouse=True)
def own_settings():
    with plt.rc_context(), warnings.catch_warnings():
        yield


def drawn(title: str) -> None:
    figure, axes = plt.subplots()
    axes.set_title(title)
    figure.canvas.draw()
    plt.close(figure)


def test_where_no_font_is_one_sentence_says_what_to_install(tmp_path, capsys):
    plt.rcParams["font.family"] = ["DejaVu Sans"]
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert fonts.use_cjk([str(tmp_path)]) is None
        drawn("生成对抗网络")
        drawn("判别器")
    said = capsys.readouterr()
    assert said.out == fonts.INSTALL + "\n"
    assert "Glyph" not in said.err
    assert plt.rcParams["font.family"] == ["DejaVu Sans"]


def test_other_warnings_are_shown_as_before(tmp_path, capsys):
    with warnings.catch_warnings(), pytest.warns(UserWarning, match="Something else"):  # noqa: PT031
        fonts.use_cjk([str(tmp_path)])
        warnings.warn("Something else", stacklevel=1)
    assert capsys.readouterr().out == ""


def test_a_damaged_font_is_passed_over(tmp_path):
    (tmp_path / "NotoSansCJK-Regular.ttf").write_bytes(b"no font")
    assert fonts.use_cjk([str(tmp_path)]) is None


@pytest.mark.skipif(fonts.use_cjk() is None, reason="no font with Chinese characters here")
def test_where_one_is_it_is_found_though_the_list_of_matplotlib_is_older():
    known = font_manager.fontManager.ttflist
    name = fonts.use_cjk()
    font_manager.fontManager.ttflist = [font for font in known if font.name != name]  # as before it was installed
    try:
        assert fonts.use_cjk() == name
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            drawn("生成对抗网络 GAN: θ, ψ")
    finally:
        font_manager.fontManager.ttflist = known
    assert plt.rcParams["font.family"].count(name) == 1


@pytest.mark.thorough
@pytest.mark.skipif(fonts.use_cjk() is None, reason="no font with Chinese characters here")
def test_importing_plots_is_enough():
    code = "import warnings; warnings.filterwarnings('error', 'Glyph'); import labutils.plots, matplotlib.pyplot as p; "
    code += "f = p.figure(); f.suptitle('手写数字'); f.canvas.draw()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
