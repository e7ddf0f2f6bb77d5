"""A student in a real browser: notebook 05 in JupyterLab, from `python -m labutils lab` to a solved exercise.

Nothing here waits for a time, only for what must come; LIMIT is how long it may take on the slowest machine.
"""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LIMIT = 900_000  # milliseconds
SETTINGS = {  # of JupyterLab: all cells in the page, no news
    "notebook-extension/tracker": {"windowingMode": "none", "autoStartDefaultKernel": True},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
WATCH = """cell => { cell.seen = new Set(); const look = () => {
    for (const image of cell.querySelectorAll('.jp-OutputArea-output img')) cell.seen.add(image.src) };
    new MutationObserver(look).observe(cell, {subtree: true, childList: true, attributes: true}); look() }"""
TRAINING = "train(TrainConfig.preset('mlp', epochs=9999, seed=7), resume=True, on_epoch=LiveView())"

pytestmark = [pytest.mark.thorough, pytest.mark.skipif(not CHROMIUM, reason="no Chromium")]


@pytest.fixture
def address(tmp_path):
    """JupyterLab on a fresh copy of the notebooks, as `make lab` starts it."""
    for name, content in SETTINGS.items():
        path = tmp_path / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    here = {name: str(tmp_path / name.lower()) for name in ("LABUTILS_WORK", "LABUTILS_RUNS", "IPYTHONDIR")}
    here |= {f"JUPYTER_{name}_DIR": str(tmp_path / name) for name in ("CONFIG", "RUNTIME")}
    here |= {
        "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "spaces"),
    }
    environment = os.environ | here | {"LABUTILS_PRESET": "smoke", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    options = ["--no-browser", f"--port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token=t"]
    command = [sys.executable, "-m", "labutils", "lab", "05", *options, "--ip=127.0.0.1", "--allow-root"]
    with (tmp_path / "server.log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT)
    try:
        while server.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api/status?token=t", timeout=60).close()
                break
            except OSError:
                time.sleep(0.1)  # not yet
        assert server.poll() is None, (tmp_path / "server.log").read_text()
        yield f"http://127.0.0.1:{port}/lab/tree/05_training.ipynb?token=t&reset", tmp_path / "labutils_work"
    finally:
        server.terminate()
        server.wait()


class Notebook:
    """The notebook in the page: its code cells by what stands in them."""

    def __init__(self, page, path: Path):
        self.page, self.path = page, path
        self.sources = [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]

    def cell(self, text: str):
        number = next(i for i, source in enumerate(self.sources) if text in source)
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(number)

    def wait(self, script: str, cell=None) -> None:
        """Until a JavaScript function of the cell is true."""
        handle = cell.element_handle() if cell else None
        self.page.wait_for_function(script, arg=handle, timeout=LIMIT)

    def says(self, cell, text: str) -> None:
        cell.locator(".jp-OutputArea").filter(has_text=re.compile(text)).first.wait_for(timeout=LIMIT)

    def pictures(self, cell) -> int:
        return cell.evaluate("cell => cell.seen.size")

    def idle(self) -> None:
        self.page.locator(".jp-StatusBar-Widget, #jp-bottom-panel").get_by_text("Idle").first.wait_for(timeout=LIMIT)

    def menu(self, *names: str) -> None:
        for name in names:
            self.page.locator(".lm-MenuBar-itemLabel, .lm-Menu-itemLabel").get_by_text(name, exact=True).click()

    def run_all(self) -> None:
        """By the menu, and again where a page that was still busy lost the click."""
        prompts = self.page.locator(".jp-InputArea-prompt").filter(has_text=re.compile(r"\*|\d"))
        while not prompts.count():
            self.menu("Run", "Run All Cells")
            with contextlib.suppress(Exception):
                prompts.first.wait_for(timeout=30_000)

    def write(self, cell, text: str) -> None:
        cell.locator(".cm-content").click()
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(text)

    def run(self, cell) -> None:
        """Run a cell, and wait until it has run."""
        before = cell.locator(".jp-InputArea-prompt").inner_text()
        cell.locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")
        self.wait(
            f"cell => !['[*]:', '[ ]:', {before!r}].includes(cell.querySelector('.jp-InputArea-prompt').innerText)",
            cell,
        )


def without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, 4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, path)


@pytest.fixture
def notebook(address):
    playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright")
    url, work = address
    without_outputs(work / "05_training.ipynb")
    with playwright.sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1366, "height": 900})
        page.set_default_timeout(LIMIT)
        page.goto(url)
        opened = Notebook(page, work / "05_training.ipynb")
        page.locator(".jp-Notebook .jp-CodeCell").nth(len(opened.sources) - 1).wait_for(state="attached")
        opened.idle()
        yield opened
        browser.close()


def test_a_student_works_through_notebook_05(notebook):
    page = notebook.page
    live, last = notebook.cell("on_epoch=LiveView(), steps"), notebook.cell("exercises.progress()")
    for cell in (live, last):
        cell.evaluate(WATCH)
    notebook.run_all()
    notebook.wait("cell => /\\d/.test(cell.querySelector('.jp-InputArea-prompt').innerText)", last)
    assert page.locator(".jp-OutputArea-output[data-mime-type*=error]").count() == 0
    assert notebook.pictures(live) >= 1

    slider = notebook.cell("stepper(lambda")
    slider.evaluate(WATCH)
    slider.locator(".noUi-handle").focus()
    page.keyboard.press("ArrowLeft")
    notebook.wait("cell => cell.seen.size > 1", slider)

    game = notebook.cell("play_digits(*build")
    game.evaluate(WATCH)
    game.get_by_role("button", name="one D step").click()
    notebook.says(game, r"L_D \d\.\d{3}")
    notebook.wait("cell => cell.seen.size > 1", game)

    stub, check = notebook.cell("def epoch_mean"), notebook.cell("exercises.epoch_mean")
    solved = notebook.pictures(last)
    for body, said in (
        ("sum(losses) / len(losses)", "weight by size"),
        ("sum(x * n for x, n in zip(losses, sizes)) / sum(sizes)", r"Exercise 5\.4: correct\."),
    ):
        notebook.write(stub, f"def epoch_mean(losses, sizes):\n    return {body}")
        notebook.run(stub)
        notebook.run(check)
        notebook.says(check, said)
    notebook.run(last)
    notebook.wait(f"cell => cell.seen.size > {solved}", last)

    epochs = []
    notebook.write(live, TRAINING)
    for _ in range(2):  # a training without an end, stopped by the square button, goes on
        live.evaluate("cell => { cell.seen = new Set() }")
        live.locator(".cm-content").click()
        page.keyboard.press("Control+Enter")
        notebook.wait("cell => cell.seen.size > 2", live)
        page.get_by_title(re.compile("^Interrupt the kernel")).first.click()
        notebook.says(live, r"Stopped: \d+ of 9999 epochs are kept")
        text = live.locator(".jp-OutputArea").first.inner_text()
        epochs.append(int(re.search(r"Stopped: (\d+) of", text).group(1)))
        notebook.idle()
    assert epochs[1] > epochs[0] >= 2
