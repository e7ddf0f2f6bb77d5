"""The house: every file has its room, imports between rooms point downwards, and what students read stays small."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = {  # what a student reads, flat: file -> the rooms that it may import
    "presets": set(),
    "data": {"engine"},
    "models": {"engine"},
    "losses": set(),
    "config": {"engine", "losses", "models", "presets"},
    "training": {"config", "data", "engine", "losses", "runs"},
    "plots": {"engine"},
    "graphs": {"engine"},
    "widgets": {"plots", "runs"},
}
ROOMS = CORE | {
    "__init__": set(),
    "__main__": {"course"},
    "engine": {"__init__"},
    "runs": {"data", "engine", "models"},
    "quality": {"data", "engine", "models", "runs"},
    "study": {"__init__", "config", "data", "engine", "models", "plots", "quality", "runs", "training"},
    "exercises": {"engine", "losses", "models", "runs"},
    "course": {
        "__init__",
        "config",
        "data",
        "engine",
        "exercises",
        "graphs",
        "models",
        "plots",
        "presets",
        "quality",
        "runs",
        "study",
        "training",
    },
}
CORE_LINES, MODULE_LINES, FUNCTION_LINES, PACKAGE_LINES = 1100, 350, 45, 12500


def room(path: Path) -> str:
    """The first part of a path below labutils."""
    return path.parts[0].removesuffix(".py")


def imported(source: str, rooms: set[str]) -> set[str]:
    """The rooms that a module imports, wherever in it and by whichever form of import; "__init__" is labutils."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names] if node.module else []
            assert not node.level, "imports are absolute here"
        elif isinstance(node, ast.Constant) and re.fullmatch(r"labutils(\.\w+)+", str(node.value)):
            names = [node.value]  # for import_module
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_lab":  # the doctor's, for what may fail
            names = [f"labutils.{argument.value}" for argument in node.args]
        else:
            continue
        ours = [name.split(".") for name in names if f"{name}.".startswith("labutils.")]
        found |= {name[1] if name[1:] and name[1] in rooms else "__init__" for name in ours}
    return found


def functions(source: str) -> list[tuple[str, int, bool]]:
    """(name, lines, whether a comment says why it is long) of each function."""
    lines = source.splitlines()
    return [
        (node.name, node.end_lineno - node.lineno + 1, any("# Long:" in line for line in lines[node.lineno - 1 : end]))
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for end in [node.end_lineno]
    ]


def faults(package: Path) -> list[str]:
    """What is wrong with the house below `package`, a sentence each."""
    found, arrows, lengths = [], {}, {}
    for path in sorted(package.rglob("*.py")):
        place, source = path.relative_to(package), path.read_text("utf8")
        if room(place) not in ROOMS:
            found.append(f"{place} belongs to no room.")
            continue
        if not ast.get_docstring(ast.parse(source)):
            found.append(f"{place} does not say what it is for.")
        lengths[place] = len(source.splitlines())
        goes_to = imported(source, set(ROOMS)) - {room(place)}
        found += [f"{place} imports {to}, which is not beneath it." for to in sorted(goes_to - ROOMS[room(place)])]
        arrows.setdefault(room(place), set()).update(goes_to)
        if lengths[place] > MODULE_LINES:
            found.append(f"{place} has {lengths[place]} lines; a module has at most {MODULE_LINES}.")
        for name, count, told in functions(source):
            if count > FUNCTION_LINES and not told:
                found.append(f"{name} in {place} has {count} lines and no comment '# Long: why'.")
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        found.append(f"Rooms import in a circle: {' -> '.join(error.args[1])}.")
    core = sum(count for place, count in lengths.items() if str(place).removesuffix(".py") in CORE)
    for what, count, most in (("The core", core, CORE_LINES), ("The package", sum(lengths.values()), PACKAGE_LINES)):
        if count > most:
            found.append(f"{what} has {count} lines; it may have {most}.")
    return found


def test_the_house_is_in_order():
    assert faults(ROOT / "labutils") == []


def test_the_command_line_hands_over_to_the_study_and_the_report_judges_by_its_rule():
    course = ROOT / "labutils" / "course"
    users = [path.name for path in course.rglob("*.py") if "study" in imported(path.read_text("utf8"), set(ROOMS))]
    # a class's runs are a study; the collapse meter is a picture of its kind
    assert sorted(users) == ["class_study.py", "cli.py", "report_figures.py", "report_text.py"]


def test_each_file_of_the_core_is_there():
    assert [name for name in CORE if not (ROOT / "labutils" / f"{name}.py").is_file()] == []


PLANTED = {  # files of a house with one fault -> what is said of it
    "a file in no room": ({"attic.py": '"""Old things."""'}, "attic.py belongs to no room."),
    "a folder that is no room": ({"attic/box.py": '"""Old."""'}, "box.py belongs to no room."),
    "an arrow upwards": (
        {"losses.py": '"""Losses."""\nfrom labutils import training', "training.py": '"""The loop."""'},
        "losses.py imports training, which is not beneath it.",
    ),
    "an arrow into a folder, within a function": (
        {"data.py": '"""Data."""\ndef f():\n    import labutils.runs.deep', "runs/deep.py": '"""Deep."""'},
        "data.py imports runs, which is not beneath it.",
    ),
    "an arrow out of a folder": (
        {"runs/deep.py": '"""Deep."""\nfrom labutils.study.rows import Entry'},
        "deep.py imports study, which is not beneath it.",
    ),
    "an arrow by import_module": (
        {"plots.py": '"""Plots."""\nimport importlib\nimportlib.import_module("labutils.study")'},
        "plots.py imports study, which is not beneath it.",
    ),
    "a circle": (
        {"models.py": '"""M."""\nfrom labutils import runs', "runs.py": '"""R."""\nfrom labutils import models'},
        "Rooms import in a circle",
    ),
    "a core too large": (
        dict.fromkeys(("data.py", "models.py"), '"""Long."""' + "\n#" * (CORE_LINES // 2)),
        f"The core has {2 * (CORE_LINES // 2 + 1)} lines",
    ),
    "a package too large": (
        {
            f"runs/part{i}.py": '"""Long."""' + "\n#" * (MODULE_LINES - 1)
            for i in range(PACKAGE_LINES // MODULE_LINES + 1)
        },
        "The package has",
    ),
    "a module too long": ({"data.py": '"""Long."""' + "\n#" * MODULE_LINES}, "a module has at most"),
    "a function too long": (
        {"data.py": '"""Long."""\ndef f():' + "\n    pass" * FUNCTION_LINES},
        "f in data.py has",
    ),
    "a module that says nothing": ({"data.py": "import os"}, "data.py does not say what it is for."),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found(fault, tmp_path):
    files, said = PLANTED[fault]
    for name, source in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(source)
    found = faults(tmp_path)
    assert any(said in sentence for sentence in found), found


def test_a_house_without_a_fault_and_a_long_function_that_says_why(tmp_path):
    (tmp_path / "data.py").write_text('"""D."""\ndef f():\n    # Long: one table.' + "\n    pass" * FUNCTION_LINES)
    (tmp_path / "training.py").write_text('"""T."""\nfrom labutils import data\nfrom labutils.data import f')
    assert faults(tmp_path) == []


def test_each_form_of_import_is_seen():
    forms = ["import labutils.runs", "from labutils import runs", "from labutils.runs import Run"]
    forms += [
        "import labutils.runs.deep as deep",
        "from labutils.runs.deep import x",
        "def f():\n    from labutils import runs",
    ]
    assert [imported(form, {"runs"}) for form in forms] == [{"runs"}] * len(forms)
    assert imported("import labutils\nfrom labutils import __version__", {"runs"}) == {"__init__"}
    assert imported("import torch\nfrom pathlib import Path\nimport labutils_of_others", {"runs"}) == set()


def test_no_file_names_a_folder_of_one_machine():
    machine = re.compile(r"(?<![\w.:/~])/(?:home|root|Users|work)/\w|\b[A-Z]:\\\\?Users")
    kinds = (".py", ".md", ".toml", ".yml", ".json", ".ipynb", ".csv")
    folders = [ROOT / name for name in ("labutils", "tests", "notebooks", "benchmarks", "docs", ".github")]
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in kinds]
    files += [ROOT / name for name in ("Makefile", "README.md", "CONTRIBUTING.md", "pyproject.toml", "environment.yml")]
    found = {path.name: machine.search(path.read_text("utf8")) for path in files}
    assert {name: match.group() for name, match in found.items() if match} == {}
