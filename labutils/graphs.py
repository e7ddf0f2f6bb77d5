"""Computation graphs as torchviz draws them: as SVG where a renderer is found, else as a table of text."""

import base64
import subprocess

from torch import Tensor, nn

from labutils.engine.graphviz import dot_source, render, renderers


class Graph:
    """A graph that a notebook shows: `svg`, None where nothing could draw it, and `table`, the same as text."""

    def __init__(self, svg: str | None, table: str):
        self.svg, self.table = svg, table

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        if self.svg is None:
            return {"text/plain": self.table}
        # JupyterLab shows no bare SVG of a notebook it does not trust, nor fits it to the page; an image it does both
        data = base64.b64encode(self.svg.encode()).decode()
        image = f'<img alt="computation graph" style="max-width: 100%" src="data:image/svg+xml;base64,{data}">'
        return {"text/plain": self.table, "image/svg+xml": self.svg, "text/html": image}


def draw(output: Tensor, show_saved: bool = False, **networks: nn.Module) -> Graph:
    """The graph that `output.backward()` would walk: `draw(loss, G=generator, D=discriminator)`.

    Args:
        output: a tensor of any shape that depends on a parameter.
        show_saved: draw the tensors kept for the backward pass too, in orange.
        networks: their parameters are named in the graph, such as G.layers.0.weight.
    Returns:
        A Graph, drawn by Graphviz's `dot` or else by the command `graphviz-pure`. Where both are missing or fail it
        holds the table only, and a printed sentence says what to install.
    Raises:
        ValueError: no graph hangs on `output`, or something else than a tensor and networks is given.
    """
    for key, net in networks.items():
        if not isinstance(net, nn.Module):
            raise ValueError(f"{key} is a {type(net).__name__}; expected a network, whose parameters it shall name.")
    names = {f"{key}.{name}": p for key, net in networks.items() for name, p in net.named_parameters()}
    table = _table(functions(output), names)
    try:
        from torchviz import make_dot
    except ImportError as error:  # torchviz needs distutils, which setuptools provides from Python 3.12 on
        print(f"torchviz cannot be imported ({error}): `pip install setuptools torchviz`. Here is a table instead.")
        return Graph(None, table)
    source = dot_source(make_dot, output, names, show_saved)
    for command in renderers():
        try:
            return Graph(render(command, source), table)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            print(f"{command[0]} could not draw the graph: {error}.")
    print("To see the graph as a picture, install Graphviz or `pip install graphviz-pure`. Here it is as a table.")
    return Graph(None, table)


def functions(output: Tensor) -> list:
    """The functions of the graph behind `output`, each once, `output.grad_fn` first; ValueError if there is none."""
    if not isinstance(output, Tensor):
        raise ValueError(f"A graph hangs on a tensor, found a {type(output).__name__}: pass network(noise) or a loss.")
    if output.grad_fn is None:
        raise ValueError(
            "No graph hangs on this tensor: it is a leaf, was detached, was made under torch.no_grad(), or depends on "
            "no parameter that requires a gradient. Pass the output of a network, or a loss."
        )
    nodes, seen = [output.grad_fn], {output.grad_fn}
    for node in nodes:  # grows while it is read
        for function, _ in node.next_functions:
            if function is not None and function not in seen:
                seen.add(function)
                nodes.append(function)
    return nodes


def _table(nodes: list, names: dict[str, Tensor]) -> str:
    """A line a function: its number, its kind, and its inputs: numbers of functions, or the leaf it accumulates for."""
    number = {node: i for i, node in enumerate(nodes)}
    name = {id(p): n for n, p in names.items()}
    lines = [f"{'node':>4}  {'kind':<20}  inputs"]
    for node in nodes:
        inputs = " ".join(str(number[f]) for f, _ in node.next_functions if f is not None)
        if hasattr(node, "variable"):  # AccumulateGrad
            inputs = f"{name.get(id(node.variable), 'a leaf')} {tuple(node.variable.shape)}"
        lines.append(f"{number[node]:>4}  {type(node).__name__:<20}  {inputs}")
    return "\n".join(lines)
