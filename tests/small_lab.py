"""A small lab in a folder of its own: tiny notebooks, and a test beside them."""

from pathlib import Path

import nbformat

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
NOTEBOOKS = {  # name -> prose, then code
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


def notebook(prose: str, *code: str) -> nbformat.NotebookNode:
    cells = [nbformat.v4.new_markdown_cell(prose), *map(nbformat.v4.new_code_cell, code)]
    return nbformat.v4.new_notebook(cells=cells)


def build(root: Path, notebooks: dict[str, list[str] | nbformat.NotebookNode | bytes], test: str = "") -> Path:
    """Write notebooks, each as prose and code, whole, or as the bytes of a file, and `test` if there is one."""
    for folder in ("notebooks", "tests"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, content in notebooks.items():
        path = root / "notebooks" / f"{name}.ipynb"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            nbformat.write(notebook(*content) if isinstance(content, list) else content, path)
    if test:
        (root / "tests" / "test_one.py").write_text(test)
    return root


def outputs(path: Path) -> list:
    """The outputs of each code cell of a notebook."""
    return [cell.outputs for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
