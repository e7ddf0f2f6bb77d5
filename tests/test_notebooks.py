"""The notebooks as they are committed, and the runner that executes them and gathers them in one page."""

import base64
import html.parser
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from labutils.notebooks import KERNELSPEC, WIDGET, Executed, execute, find, report, run

ROOT = Path(__file__).parents[1]
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NOTEBOOKS = {path.stem: nbformat.read(path, as_version=4) for path in PATHS}
README = (ROOT / "README.md").read_text("utf8")
HEADINGS = ["## Exercises", "## Summary", "## Questions for the report", "## References"]
each_notebook = pytest.mark.parametrize("name", NOTEBOOKS)


def code(name):
    return [cell for cell in NOTEBOOKS[name].cells if cell.cell_type == "code"]


def prose(name):
    return "\n\n".join(cell.source for cell in NOTEBOOKS[name].cells if cell.cell_type == "markdown")


def lines(cell):
    return [line for line in cell.source.splitlines() if line.strip() and not line.startswith("# NBVAL")]


def texts(name):
    """All that a reader can see as text: sources, streams, and the textual forms of outputs."""
    for cell in NOTEBOOKS[name].cells:
        yield cell.source
        for output in cell.get("outputs", []):
            yield output.get("text", "")
            yield from (
                value for kind, value in output.get("data", {}).items() if kind.startswith(("text/", "image/svg"))
            )


def test_the_seven_are_there():
    first = ["01_theory", "02_data", "03_models", "04_graphs", "05_training", "06_dcgan", "07_stable_gans"]
    assert list(NOTEBOOKS)[:7] == first


@each_notebook
def test_it_is_committed_executed_from_first_to_last(name):
    assert [cell.execution_count for cell in code(name)] == list(range(1, len(code(name)) + 1))
    outputs = [output for cell in code(name) for output in cell.outputs]
    assert len(outputs) >= 5
    assert [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"] == []


@each_notebook
def test_it_has_the_parts_of_every_notebook(name):
    start = NOTEBOOKS[name].cells[0].source
    assert re.match(rf"# {name[:2]}  \S", start)
    assert "**You will be able to:**" in start
    assert "**Needs:**" in start
    assert re.search(r"^\*\*Minutes:\*\* \d+ on a 2-core laptop", start, re.MULTILINE)
    assert re.findall(r"^## .*", prose(name), re.MULTILINE)[-4:] == HEADINGS
    assert 2 <= sum("checks." in cell.source for cell in code(name)) <= 3


@each_notebook
def test_readme_says_the_same_minutes(name):
    said = re.search(r"\*\*Minutes:\*\* (\d+)", NOTEBOOKS[name].cells[0].source).group(1)
    row = re.search(rf"^\| \[{name}\]\(notebooks/{name}\.ipynb\) \|.*\| (\S+) \|$", README, re.MULTILINE)
    assert row.group(1) == said


def test_readme_says_the_verdicts_of_the_comparison():
    printed = next(text for text in texts("06_dcgan") if "You wrote: " in text and "print" not in text)
    verdicts = re.findall(r"^(\d\w?\. .*?) +((?:equal epochs|the end): .*)$", printed, re.MULTILINE)
    assert len(verdicts) == 12
    for claim, verdict in verdicts:
        assert f"| {claim} | {verdict} |" in README


def test_readme_quotes_what_the_recipe_reached():
    said = re.search(r"^> (recipe, epoch .*(?:\n> .*)*)$", README, re.MULTILINE).group(1).replace("\n> ", " ")
    assert any(said in " ".join(text.split()) for text in texts("07_stable_gans"))


@each_notebook
def test_its_cells_are_short_and_told_in_prose(name):
    sizes = [len(lines(cell)) for cell in code(name)]
    long = [
        cell.source[:60]
        for cell in code(name)
        if len(lines(cell)) > (40 if re.search("^class ", cell.source, re.M) else 30)
    ]
    assert long == []
    assert statistics.median(sizes) <= 6
    assert len(prose(name).split()) >= 5 * sum(sizes)


@each_notebook
def test_some_of_its_outputs_are_compared(name):
    marked = [cell for cell in code(name) if cell.source.startswith("# NBVAL_CHECK_OUTPUT")]
    assert marked
    assert all(cell.outputs for cell in marked)


@each_notebook
def test_it_holds_nothing_of_one_machine_or_one_execution(name):
    notebook = NOTEBOOKS[name]
    assert notebook.metadata == {"kernelspec": KERNELSPEC, "language_info": {"name": "python"}}
    assert [cell.metadata for cell in notebook.cells if "execution" in cell.metadata] == []
    assert [out for cell in code(name) for out in cell.outputs if WIDGET in out.get("data", {})] == []
    machine = re.compile(
        r"(?<![\w.:/~])/(?:home|root|Users|tmp|work)/\w|\b[A-Z]:\\\\?\w|\bat 0x[0-9a-f]{6}|site-packages"
    )
    assert [match.group() for text in texts(name) if (match := machine.search(text))] == []


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_it_is_below_three_megabytes(path):
    assert path.stat().st_size < 3_000_000


@pytest.mark.parametrize("number", range(1, 8))
def test_the_figures_of_the_report_keep_their_numbers(number):
    assert [name for name in NOTEBOOKS if re.search(rf"^\*+Figure {number}\.", prose(name), re.M)]


class Loads(html.parser.HTMLParser):
    """Collects what a page would load by itself: everything but links, which wait for a click."""

    def __init__(self, page: str):
        super().__init__()
        self.found, self.formulas, self.in_style = [], 0, False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.formulas += tag == "math"
        self.in_style = tag == "style"
        names = ("src", "srcset", "data", "poster", "background", *(() if tag == "a" else ("href", "xlink:href")))
        self.found += [
            attributes[name] for name in names if not (attributes.get(name) or "data:").startswith(("data:", "#"))
        ]
        self.found += re.findall(r"url\((?!#)[^)]*\)", attributes.get("style") or "")
        self.found += [tag] * (tag in ("script", "iframe", "base", "form"))

    def handle_data(self, text):
        if self.in_style:
            self.found += re.findall(r"@import[^;]*|url\((?!['\"]?(?:data:|#))[^)]*\)", text)

    def handle_endtag(self, tag):
        self.in_style = False


def test_loads_sees_what_a_page_would_load():
    page = (
        '<link href="a.css"><img src="b.png"><script>x()</script><style>@import "c.css"; p { background: url(d.png) }'
        '</style><p style="background: url(e.png)"><svg><image xlink:href="f.png"/></svg><a href="https://g">g</a>'
        '<img src="data:image/png;base64,AA==">'
    )
    assert len(Loads(page).found) == 7


def figures(notebook) -> list[str]:
    """What the page must hold of each PNG and SVG output, in base64."""
    found = []
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        data = output.get("data", {})
        if "image/svg+xml" in data:
            found.append(base64.b64encode(data["image/svg+xml"].encode()).decode())
        elif "image/png" in data:
            found.append(data["image/png"].replace("\n", ""))
    return found


def test_the_report_of_the_committed_notebooks_stands_alone():
    page, unset = report([Executed(name, notebook, 60) for name, notebook in NOTEBOOKS.items()], "Lab", "")
    assert unset == []
    loads = Loads(page)
    assert loads.found == []
    formulas = sum(len(re.findall(r"(?<![\\$])\$\$?[^$`]+\$\$?", prose(name))) for name in NOTEBOOKS)
    assert loads.formulas >= 0.9 * formulas > 100  # a dollar sign in code looks like a formula to the pattern
    expected = [figure for notebook in NOTEBOOKS.values() for figure in figures(notebook)]
    assert len(expected) > 20
    assert [figure[:40] for figure in expected if figure not in page] == []


PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
SMALL = {
    "01_good": [
        "# Good\n\nInline $D(x) < 1$, `$code$`, [a link](https://example.org) and $\\nosuch$.\n\n"
        "$$\\begin{aligned} a &= b \\\\ &\\ge c \\end{aligned}$$",
        "import os\n\nprint(os.environ['LABUTILS_PRESET'], os.path.basename(os.getcwd()))",
        "print(object())\nobject()",
        f"import base64\n\nfrom IPython.display import SVG, Image\n\nImage(base64.b64decode('{PNG}'))",
        'SVG(\'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><path d="M0 0H9"/></svg>\')',
        "from tqdm.auto import tqdm\n\nfor _ in tqdm(range(3)):\n    pass",
        "import ipywidgets\n\nipywidgets.IntSlider()",
    ],
    "02_fails": ["# Fails", "print('before')", "1 / 0", "print('after')"],
    "03_dies": ["# Dies", "print('before')", "os_exit = __import__('os')._exit(1)"],
    "04_good": ["# Good too", "1 + 1"],
}


@pytest.fixture(scope="module")
def small_lab(tmp_path_factory):
    """Four tiny notebooks, executed by `run(update=True)`: the folder, the exit code and what was printed."""
    root = tmp_path_factory.mktemp("lab")
    (root / "notebooks").mkdir()
    for name, (start, *cells) in SMALL.items():
        cells = [nbformat.v4.new_markdown_cell(start), *map(nbformat.v4.new_code_cell, cells)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), root / "notebooks" / f"{name}.ipynb")
    return root


@pytest.fixture(scope="module")
def ran(small_lab):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABUTILS_RUNS", str(small_lab / "runs"))
        return run(preset="smoke", update=True, root=small_lab)


def outputs(path: Path) -> list:
    return [cell.outputs for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_a_notebook_is_executed_where_it_lies_with_the_preset_in_force(small_lab, ran):
    assert outputs(small_lab / "build" / "notebooks" / "01_good.ipynb")[0][0].text == "smoke notebooks\n"


def test_a_failing_notebook_does_not_keep_the_next_from_running(small_lab, ran):
    assert ran == 1
    assert outputs(small_lab / "build" / "notebooks" / "04_good.ipynb")[0][0].data["text/plain"] == "2"


def test_what_came_before_a_failure_is_kept(small_lab, ran):
    failed = outputs(small_lab / "build" / "notebooks" / "02_fails.ipynb")
    assert [len(cell) for cell in failed] == [1, 1, 0]
    assert failed[0][0].text == "before\n"
    assert failed[1][0].ename == "ZeroDivisionError"


def test_update_writes_back_what_did_not_fail(small_lab, ran):
    assert outputs(small_lab / "notebooks" / "04_good.ipynb")[0]
    assert not any(outputs(small_lab / "notebooks" / "02_fails.ipynb"))


def test_two_executions_write_the_same_bytes(small_lab, ran):
    path = small_lab / "notebooks" / "01_good.ipynb"
    first = path.read_bytes()
    done = execute(path, os.environ | {"LABUTILS_PRESET": "smoke"}, 60)
    assert done.error == ""
    assert nbformat.writes(done.notebook).strip() == first.decode().strip()


def test_of_a_widget_the_text_stays_and_of_a_progress_bar_nothing(small_lab, ran):
    *_, bar, slider = outputs(small_lab / "notebooks" / "01_good.ipynb")
    assert bar == []
    assert list(slider[0].data) == ["text/plain"]


def test_the_report_stands_alone_and_holds_each_figure(small_lab, ran):
    page = (small_lab / "build" / "report.html").read_text("utf8")
    loads = Loads(page)
    assert loads.found == []
    assert loads.formulas == 2
    assert "<code>\\nosuch</code>" in page
    assert "<code>$code$</code>" in page
    (png, svg) = figures(nbformat.read(small_lab / "notebooks" / "01_good.ipynb", as_version=4))
    assert png in page
    assert svg in page
    assert page.count("<section") == 4


def test_a_failing_cell_a_dead_kernel_and_a_slow_cell_each_get_a_sentence(small_lab, tmp_path):
    folder = small_lab / "notebooks"
    assert execute(folder / "02_fails.ipynb", dict(os.environ), 60).error == (
        "02_fails: cell 2 of 3 raised ZeroDivisionError: division by zero"
    )
    assert execute(folder / "03_dies.ipynb", dict(os.environ), 60).error.startswith(
        "03_dies: the kernel died in cell 2 of 2, most often for want of memory"
    )
    slow = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("while True:\n    pass")])
    nbformat.write(slow, tmp_path / "05_slow.ipynb")
    assert execute(tmp_path / "05_slow.ipynb", dict(os.environ), 2).error == (
        "05_slow: cell 1 of 1 was stopped after 2 s; --cell-timeout allows more."
    )


def test_an_address_in_memory_goes(small_lab, ran):
    shown = outputs(small_lab / "notebooks" / "01_good.ipynb")[1]
    assert [output.get("text") or output.data["text/plain"] for output in shown] == [
        "<object object at 0x...>\n",
        "<object at 0x...>",
    ]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_keeps_what_was_executed(tmp_path):
    (tmp_path / "notebooks").mkdir()
    cells = ["print('before')", "import time\n\nopen('here', 'w').close()\ntime.sleep(60)"]
    slow = nbformat.v4.new_notebook(cells=[*map(nbformat.v4.new_code_cell, cells)])
    nbformat.write(slow, tmp_path / "notebooks" / "01_slow.ipynb")
    call = f"import sys, pathlib, labutils.notebooks as n; sys.exit(n.run(root=pathlib.Path({str(tmp_path)!r})))"
    process = subprocess.Popen([sys.executable, "-c", call], stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "notebooks" / "here").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Failed: 01_slow: Ctrl-C in cell 2 of 2" in printed
    assert outputs(tmp_path / "build" / "notebooks" / "01_slow.ipynb")[0][0].text == "before\n"


def test_the_failures_are_printed_with_where_to_look(small_lab, monkeypatch, capsys):
    monkeypatch.setenv("LABUTILS_RUNS", str(small_lab / "runs"))
    assert run(["02"], "smoke", root=small_lab) == 1
    printed = capsys.readouterr().out
    assert "0 of 1 notebooks without error" in printed
    assert "Failed: 02_fails: cell 2 of 3 raised ZeroDivisionError: division by zero" in printed
    assert str(small_lab / "build" / "report.html") in printed


def test_folders_of_the_caller_are_those_of_the_kernels(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    cell = nbformat.v4.new_code_cell("import os\nprint(os.environ['LABUTILS_RUNS'], os.environ['LABUTILS_DATA'])")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "notebooks" / "01_where.ipynb")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABUTILS_RUNS", "mine")
    monkeypatch.setenv("LABUTILS_DATA", "data")
    assert run(root=tmp_path) == 0
    told = outputs(tmp_path / "build" / "notebooks" / "01_where.ipynb")[0][0].text.split()
    assert told == [str(tmp_path / "mine"), str(tmp_path / "data")]


def test_notebooks_are_found_by_the_start_of_their_name(small_lab):
    folder = small_lab / "notebooks"
    assert [path.stem for path in find([], folder)] == list(SMALL)
    assert [path.stem for path in find(["04", "notebooks/02_fails.ipynb"], folder)] == ["02_fails", "04_good"]
    with pytest.raises(ValueError, match=r"'0' fits 4 notebooks .* name one of: 01_good, 02_fails"):
        find(["0"], folder)
    with pytest.raises(ValueError, match="fits 0 notebooks"):
        find([], folder / "nothing")
