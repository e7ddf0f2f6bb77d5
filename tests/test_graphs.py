"""Graphs are drawn by Graphviz, else by graphviz-pure, else as a table; and they hold what autograd holds."""

import base64
import re
import shutil
import sys
from xml.etree import ElementTree

import pytest
import torch

from labutils import graphs
from labutils.engine import graphviz
from labutils.models import MODELS, build

SENTENCE = "install Graphviz or `pip install graphviz-pure`"
HANGING = [sys.executable, "-c", "import time; time.sleep(60)"]
FAILING = [sys.executable, "-c", "import sys; sys.exit('no layout engine')"]
SILENT = [sys.executable, "-c", "print('not a picture')"]
MISSING = ["no-such-renderer"]

pytestmark = pytest.mark.filterwarnings("ignore:distutils Version classes:DeprecationWarning")  # torchviz's own


@pytest.fixture
def hide(monkeypatch):
    """hide("dot", ...): those commands are not found."""
    which = shutil.which

    def hidden(*names):
        monkeypatch.setattr(graphviz.shutil, "which", lambda name, **kw: None if name in names else which(name, **kw))

    return hidden


@pytest.fixture(scope="module")
def pair():
    return build("mlp")


def texts(svg: str) -> list[str]:
    """What is written in an SVG; fails where it is not XML."""
    return [node.text for node in ElementTree.fromstring(svg).iter() if node.tag.endswith("}text")]


def check_drawing_of_generator(graph: graphs.Graph, generator: torch.nn.Module) -> None:
    written = texts(graph.svg)
    assert {f"G.{name}" for name, _ in generator.named_parameters()} <= set(written)
    assert written.count("AccumulateGrad") == 8
    assert "TanhBackward0" in written
    assert "(2, 1, 28, 28)" in [text.strip() for text in written]
    bundle = graph._repr_mimebundle_()
    assert bundle.keys() == {"text/plain", "image/svg+xml", "text/html"}
    assert (bundle["text/plain"], bundle["image/svg+xml"]) == (graph.table, graph.svg)
    inside = re.search(r'src="data:image/svg\+xml;base64,([^"]+)"', bundle["text/html"])[1]
    assert base64.b64decode(inside).decode() == graph.svg
    root = ElementTree.fromstring(graph.svg)
    assert "max-width: 100%" in root.get("style")
    assert root.get("viewBox")
    assert not [node for node in root.iter() if node.get("id")]
    for node in root.iter():  # each text fits into its box: at 10 points a monospace letter is about 6 wide
        boxes = [[float(point.split(",")[0]) for point in p.get("points").split()] for p in node if p.get("points")]
        lines = [p.text.strip() for p in node if p.tag.endswith("}text")]
        if node.get("class") == "node":
            assert max(boxes[0]) - min(boxes[0]) >= 6 * max(map(len, lines))


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed here")
def test_first_way_is_graphviz(hide, pair, capsys):
    hide("graphviz-pure")
    generator, _ = pair
    check_drawing_of_generator(graphs.draw(generator(torch.randn(2, 100)), G=generator), generator)
    assert capsys.readouterr().out == ""


def test_second_way_is_graphviz_pure_even_off_the_path(hide, pair, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "")
    hide("dot")
    generator, _ = pair
    check_drawing_of_generator(graphs.draw(generator(torch.randn(2, 100)), G=generator), generator)
    assert capsys.readouterr().out == ""


def test_third_way_is_a_table_and_a_sentence(hide, capsys):
    hide("dot", "graphviz-pure")
    linear = torch.nn.Linear(3, 2)
    graph = graphs.draw(linear(torch.ones(1, 3)).relu(), L=linear)
    assert graph.svg is None
    assert graph._repr_mimebundle_() == {"text/plain": graph.table}
    rows = [line.split(maxsplit=2) for line in graph.table.splitlines()]
    assert rows == [
        ["node", "kind", "inputs"],
        ["0", "ReluBackward0", "1"],
        ["1", "AddmmBackward0", "2 3"],
        ["2", "AccumulateGrad", "L.bias (2,)"],
        ["3", "TBackward0", "4"],
        ["4", "AccumulateGrad", "L.weight (2, 3)"],
    ]
    assert capsys.readouterr().out.count(SENTENCE) == 1


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (FAILING, "exit code 1, no layout engine"),
        (SILENT, "no SVG came out"),
        (HANGING, "timed out"),
        (MISSING, "could not draw"),
    ],
)
def test_a_broken_renderer_gives_way_to_the_next(broken, complaint, pair, capsys, monkeypatch):
    working = graphviz.renderers()[-1:]
    monkeypatch.setattr(graphviz, "TIMEOUT", 1.0 if broken is HANGING else graphviz.TIMEOUT)
    monkeypatch.setattr(graphs, "renderers", lambda: [broken, *working])
    generator, _ = pair
    check_drawing_of_generator(graphs.draw(generator(torch.randn(2, 100)), G=generator), generator)
    said = capsys.readouterr().out
    assert complaint in said
    assert SENTENCE not in said


def test_only_broken_renderers_give_the_table(pair, capsys, monkeypatch):
    monkeypatch.setattr(graphs, "renderers", lambda: [FAILING, SILENT])
    generator, _ = pair
    graph = graphs.draw(generator(torch.randn(2, 100)), G=generator)
    said = capsys.readouterr().out
    assert graph.svg is None
    assert "G.layers.0.weight (256, 100)" in graph.table
    assert said.count("could not draw the graph") == 2
    assert said.count(SENTENCE) == 1


def test_without_torchviz_the_table_remains(pair, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchviz", None)
    generator, _ = pair
    graph = graphs.draw(generator(torch.randn(2, 100)), G=generator)
    assert graph.svg is None
    assert graph.table.count("AccumulateGrad") == 8
    assert "pip install setuptools torchviz" in capsys.readouterr().out


@pytest.mark.parametrize("show_saved", [False, True])
@pytest.mark.parametrize("model", list(MODELS))
def test_every_network_is_drawn_alike_twice(model, show_saved):
    generator, discriminator = build(model)
    fake = generator(torch.randn(2, 100))
    for output in (fake, discriminator(fake.detach()), discriminator(fake)):
        svg = graphs.draw(output, show_saved, G=generator, D=discriminator).svg
        assert svg == graphs.draw(output, show_saved, G=generator, D=discriminator).svg
        leaves = {f for f in graphs.functions(output) if hasattr(f, "variable")}
        assert texts(svg).count("AccumulateGrad") == len(leaves)
        assert ("orange" in svg) is show_saved
        assert not re.search(r"\d{12}", svg)  # no address in memory


@pytest.mark.parametrize("model", list(MODELS))
def test_functions_reach_each_parameter_once(model):
    generator, discriminator = build(model)
    fake = generator(torch.randn(2, 100))
    together = [*generator.parameters(), *discriminator.parameters()]
    for output, parameters in [
        (fake, list(generator.parameters())),
        (discriminator(fake.detach()), list(discriminator.parameters())),
        (discriminator(fake) + discriminator(fake.detach()), together),
    ]:
        nodes = graphs.functions(output)
        assert nodes[0] is output.grad_fn
        assert len(nodes) == len(set(nodes))
        reached = [id(f.variable) for f in nodes if hasattr(f, "variable")]
        assert sorted(reached) == sorted(map(id, parameters))


def test_a_graph_with_very_many_paths_is_walked_once():
    leaf = torch.ones(1, requires_grad=True)
    doubled = leaf
    for _ in range(2000):  # 2 ** 2000 paths, and deeper than Python's recursion limit
        doubled = doubled + doubled
    assert len(graphs.functions(doubled)) == 2001


def test_a_tensor_without_a_graph_is_refused(pair):
    generator, _ = pair
    fake = generator(torch.randn(2, 100))
    with torch.no_grad():
        unrecorded = generator(torch.randn(2, 100))
    for output in (fake.detach(), unrecorded, torch.ones(2), torch.ones(2, requires_grad=True)):
        with pytest.raises(ValueError, match="No graph hangs on this tensor"):
            graphs.draw(output, G=generator)


def test_what_is_no_tensor_or_no_network_gets_a_sentence(pair):
    generator, _ = pair
    with pytest.raises(ValueError, match=r"A graph hangs on a tensor, found a Generator: pass network\(noise\)"):
        graphs.draw(generator, G=generator)
    with pytest.raises(ValueError, match="found a list"):
        graphs.functions([torch.ones(1)])
    with pytest.raises(ValueError, match="G is a Tensor; expected a network"):
        graphs.draw(generator(torch.ones(2, 100)), G=torch.ones(1))


def test_saved_tensors_that_backward_freed_get_a_sentence(pair):
    loss = pair[1](torch.zeros(2, 1, 28, 28)).mean()
    loss.backward()
    assert graphs.draw(loss).table
    with pytest.raises(ValueError, match=r"backward\(\) frees them. Draw before it, or without show_saved"):
        graphs.draw(loss, show_saved=True)
