"""The house: imports point one way, without cycles, and nothing names a folder of one machine."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEAVES = ("data", "models", "losses", "machine", "graphs", "plots")  # import nothing of ours
INNER = {  # import no more than this
    "runs": {"models"},
    "training": {"data", "losses", "machine", "models", "runs"},
    "quality": {"data", "models", "runs"},
    "study": {"data", "machine", "models", "quality", "runs", "training"},
}
TOP = ("widgets", "checks", "doctor", "notebooks")  # imported by the command line and the notebooks only


def imported(source: str) -> set[str]:
    """The modules of labutils that a module imports, wherever in it, by whichever form of import."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(filter(None, ["labutils" if node.level else "", node.module]))
            names = [start, *(f"{start}.{alias.name}" for alias in node.names)]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("labutils.")}
    return found & {path.stem for path in (ROOT / "labutils").glob("*.py")}


ARROWS = {path.stem: imported(path.read_text("utf8")) for path in (ROOT / "labutils").glob("*.py")}


def test_each_form_of_import_is_seen():
    forms = ["import labutils.runs", "from labutils import runs", "from labutils.runs import Run", "from . import runs"]
    forms.append("def f():\n    from .runs import Run")
    assert [imported(form) for form in forms] == [{"runs"}] * 5


@pytest.mark.parametrize("name", LEAVES)
def test_a_leaf_imports_nothing_of_ours(name):
    assert ARROWS[name] == set()


@pytest.mark.parametrize("name", INNER)
def test_an_inner_module_imports_what_lies_beneath_it_only(name):
    assert ARROWS[name] <= INNER[name]


def test_nothing_but_the_command_line_imports_what_sits_on_top():
    users = {name: sorted(ARROWS[name] & set(TOP)) for name in ARROWS if name != "__main__"}
    assert {name: used for name, used in users.items() if used} == {}


def test_there_is_no_cycle():
    try:
        TopologicalSorter(ARROWS).prepare()
    except CycleError as error:
        pytest.fail(f"labutils imports in a circle: {' -> '.join(error.args[1])}")


def test_every_module_says_what_it_is_for():
    silent = [
        path.name
        for path in (ROOT / "labutils").glob("*.py")
        if not ast.get_docstring(ast.parse(path.read_text("utf8")))
    ]
    assert silent == []


def test_no_file_names_a_folder_of_one_machine():
    machine = re.compile(r"(?<![\w.:/~])/(?:home|root|Users|work)/\w|\b[A-Z]:\\\\?Users")
    kinds = (".py", ".md", ".toml", ".yml", ".json", ".ipynb", ".csv")
    folders = [ROOT / name for name in ("labutils", "tests", "notebooks", "benchmarks", "docs", ".github")]
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in kinds]
    files += [ROOT / name for name in ("Makefile", "README.md", "CONTRIBUTING.md", "pyproject.toml", "environment.yml")]
    found = {path.name: machine.search(path.read_text("utf8")) for path in files}
    assert {name: match.group() for name, match in found.items() if match} == {}
