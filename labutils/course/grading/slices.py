"""Of a student's notebook the statements that one name needs, and no others: nothing else of his is ever run.

The last definition of each name counts, as in a kernel. Of what the untouched notebook holds too, that one is taken.
"""

import ast
import builtins
import re
import symtable
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache

SUSPECT = {
    "os", "sys", "subprocess", "socket", "ctypes", "gc", "inspect", "shutil", "signal", "threading", "builtins",
    "multiprocessing", "importlib", "pickle", "pathlib", "urllib", "requests", "tempfile", "or_else", "solved"
}  # fmt: skip
LONGEST = 20_000  # characters of a cell that is looked at
NAMING = {"exec", "globals", "setattr"}  # what they define is not seen from outside
CALLS = {"eval", "exec", "compile", "open", "__import__", "globals", "setattr", "breakpoint", "input"}
MUTATES = {"append", "clear", "extend", "insert", "pop", "remove", "setdefault", "update"}  # calls that change a list
BINDS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
AT_ONCE = {"listcomp", "setcomp", "dictcomp", "genexpr"}  # what looks like a function, and runs where it stands


@dataclass
class Statement:
    """One statement at the top of a cell: where it stands, what it defines, changes, and needs at once or later."""

    cell: str
    source: str  # of the whole cell
    index: int  # of the statement in it
    node: ast.stmt
    defines: set[str] = field(default_factory=set)
    changes: set[str] = field(default_factory=set)
    needs: set[str] = field(default_factory=set)
    later: set[str] = field(default_factory=set)  # when a function in it is called


def statements(cells: Iterable[tuple[str, str]]) -> tuple[list[Statement], dict[str, str]]:
    """Of cells, (name, source) each, the statements; and of those that are no Python why not."""
    found, broken = [], {}
    for name, source in cells:
        parts, why = _parts(source)
        found += [replace(part, cell=name) for part in parts]
        broken |= {name: why} if why else {}
    return found, broken


@lru_cache(10_000)
def _parts(source: str) -> tuple[list[Statement], str]:
    """The statements of a cell, and why there are none."""
    if len(source) > LONGEST:
        return [], f"line 1: it has more than {LONGEST:,} characters"
    try:
        source = _python(source)
        body = ast.parse(source).body
        return [_looked_at(Statement("", source, i, node)) for i, node in enumerate(body)], ""
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        return [], f"{type(error).__name__}: {error}" if line is None else f"line {line}: {error.msg}"


def _python(source: str) -> str:
    """A cell without the lines that only a notebook understands, if it has any."""
    try:
        ast.parse(source)
    except SyntaxError:
        return re.sub(r"(?m)^([ \t]*(?:\w+ *= *)?)([%!?].*|.*\?)$", r"\g<1>0", source)
    return source


def _looked_at(one: Statement) -> Statement:
    node, given = one.node, set()
    one.needs, one.later = _globals(symtable.symtable(ast.unparse(node), one.cell, "exec"))
    for part in (node, *(() if isinstance(node, BINDS) else _outside_functions(node))):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            one.defines.add(part.id)
        elif isinstance(part, (*BINDS, ast.MatchAs, ast.MatchStar)) and part.name:
            one.defines.add(part.name)
        elif isinstance(part, ast.Import | ast.ImportFrom):
            one.defines |= {(alias.asname or alias.name.split(".")[0]) for alias in part.names}
        elif isinstance(part, ast.Call) and isinstance(part.func, ast.Name) and part.func.id in NAMING:
            one.defines.add("?")
        elif isinstance(part, ast.Attribute | ast.Subscript) and isinstance(part.ctx, ast.Store):
            one.changes |= _root(part)
        elif isinstance(part, ast.Expr) and isinstance(part.value, ast.Call):
            one.changes |= _root(part.value.func) if getattr(part.value.func, "attr", "") in MUTATES else set()
        elif isinstance(part, ast.AugAssign):
            one.needs |= _root(part.target)  # x += 1 goes on with what x was
        elif isinstance(part, ast.For):
            over, names = ({getattr(n, "id", "") for n in ast.walk(p)} for p in (part.iter, part.target))
            given |= names - over
    one.needs -= given  # `for i in range(9)` gives i its values
    return one


def _root(part: ast.expr) -> set[str]:
    """The name that `name.a[3].b` begins with, if it is one."""
    while isinstance(part, ast.Attribute | ast.Subscript):
        part = part.value
    return {part.id} if isinstance(part, ast.Name) else set()


def _outside_functions(node: ast.AST) -> Iterable[ast.AST]:
    for part in ast.iter_child_nodes(node):
        yield part
        if not isinstance(part, (*BINDS, ast.Lambda)):
            yield from _outside_functions(part)


def _globals(table: symtable.SymbolTable) -> tuple[set[str], set[str]]:
    """The names that a piece of code takes from the module: at once, and when a function in it is called."""
    module, later = table.get_type() == "module", set()
    now = {s.get_name() for s in table.get_symbols() if s.is_referenced() and (module or s.is_global())}
    for child in table.get_children():
        first, then = _globals(child)
        if child.get_type() == "class" or child.get_name() in AT_ONCE:
            now, later = now | first, later | then
        else:
            later |= first | then
    return now, later


def slice_of(names: Iterable[str], found: list[Statement]) -> list[tuple[str, str, list[int]]]:
    """The statements that `names` need, in their order: (cell, its source, which statements of it)."""
    taken, waiting, seen = set(), [(name, len(found)) for name in names], set()
    while waiting:
        name, before = waiting.pop()
        if (name, before) in seen:
            continue
        seen.add((name, before))
        last = next((i for i in reversed(range(before)) if name in found[i].defines), None)
        if last is None:
            unseen = {"*"} if hasattr(builtins, name) else {"*", "?"}
            wanted = [i for i in range(before) if unseen & found[i].defines]
        else:
            wanted = [last, *(i for i in range(last + 1, before) if name in found[i].changes)]
        for i in wanted:
            taken.add(i)
            waiting += [(need, i) for need in found[i].needs]  # x = x + 1 goes on with what x was
            waiting += [(need, before) for need in found[i].later]
    cells, words = {found[i].cell for i in taken}, set()
    for text in {found[i].source for i in taken if "?" in found[i].defines}:
        words |= set(re.findall(r"\w+", text))
    for i, one in enumerate(found):  # what shapes the whole cell, and what code in a text may need
        if isinstance(one.node, ast.Import | ast.ImportFrom):
            future = getattr(one.node, "module", "") == "__future__" and one.cell in cells
            taken |= {i} if future or one.defines & words else set()
    cells = {}
    for i in sorted(taken):
        cells.setdefault((found[i].cell, found[i].source), []).append(found[i].index)
    return [(name, source, indices) for (name, source), indices in cells.items()]


def put_over(untouched: list[dict], theirs: list[dict]) -> list[dict]:
    """The code cells of an untouched notebook, without its stubs, then what the student changed or added."""
    code = [cell for cell in untouched if cell["type"] == "code"]
    given = {cell["source"].strip() for cell in code}
    own = [cell for cell in theirs if cell["type"] == "code" and cell["source"].strip() not in given]
    return [cell | {"own": False} for cell in code if not cell["exercise"]] + [cell | {"own": True} for cell in own]


def suspects(found: list[Statement], cells: Iterable[str]) -> list[str]:
    """What in the code of some cells a person should look at; it proves nothing, and protects from nothing."""
    cells, words = set(cells), set()
    modules = set().union(*(other.defines for other in found if isinstance(other.node, ast.Import)))
    for one in found:
        for part in ast.walk(one.node) if one.cell in cells else ():
            if isinstance(part, ast.Import | ast.ImportFrom):
                tops = [alias.name for alias in part.names]  # `from labutils.exercises.tries import solved`, too
                tops += [part.module or ""] if isinstance(part, ast.ImportFrom) else []
                words |= {f"import {top}" for top in tops if top.split(".")[0] in SUSPECT}
            elif isinstance(part, ast.FunctionDef) and part.name in ("__eq__", "__torch_function__", "__del__"):
                words.add(part.name)
            elif isinstance(part, ast.Call) and isinstance(part.func, ast.Name) and part.func.id in CALLS:
                words.add(f"{part.func.id}()")
            elif isinstance(part, ast.Attribute):
                root = part
                while isinstance(root, ast.Attribute):
                    root = root.value
                if isinstance(part.ctx, ast.Store) and isinstance(root, ast.Name) and root.id in modules:
                    words.add(f"{ast.unparse(part)[:60]} = ...")
                elif part.attr in SUSPECT or (part.attr.startswith("__") and part.attr not in ("__init__", "__name__")):
                    words.add(f".{part.attr}")
    return sorted(words)


def shape_of(source: str) -> tuple[str, int]:
    """A program without names, docstrings and line numbers, as text, and how many parts it has; ("", 0): none."""
    try:
        tree = ast.parse(re.sub(r"(?m)^\s*[%!].*$", "", source))
        ast.dump(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "", 0
    names, parts = {}, 0
    for node in ast.walk(tree):
        parts += 1
        if isinstance(node, (*BINDS, ast.Module)) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        if isinstance(node, BINDS):
            node.name = names.setdefault(node.name, f"n{len(names)}")
        elif isinstance(node, ast.Name):
            node.id = names.setdefault(node.id, f"n{len(names)}")
        elif isinstance(node, ast.arg):
            node.arg, node.annotation = names.setdefault(node.arg, f"n{len(names)}"), None
    return ast.dump(tree), parts
