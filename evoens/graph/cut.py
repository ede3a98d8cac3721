"""Cut a network in two: what its children share, computed once, and the rest, computed for each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn

from evoens.errors import EvoensError
from evoens.network.tensors import alias, first_names
from evoens.plugins.guest import guest

Features = tuple[Tensor, ...]
"""What a trunk makes of inputs, a row an input in each."""

SHAPES = ("shape", "ndim", "dtype", "device")  # what tells of a tensor, and is none
_TRACING = threading.Lock()
_CALL = nn.Module.__call__  # as it is while no thread traces: torch.fx puts its own in its place meanwhile


@dataclass(frozen=True)
class Cut:
    """A network as `tail(*trunk(inputs))`: no touched tensor has a part in the trunk.

    Both keep the names of the network's tensors. The trunk gives a tuple of tensors, each with a row an input.
    """

    trunk: nn.Module
    tail: nn.Module


def cut(module: nn.Module, touched: Collection[str]) -> Cut | None:
    """Cut `module` as late as the `touched` tensors allow; the parts' tensors lie in the memory of the whole one's.

    None where there is nothing to share: a touched tensor meets the inputs or has several names, or torch.fx cannot
    trace the module (with Python conditions on values, say).
    """
    if any(name != first and first in touched for name, first in first_names(module).items()):
        return None
    tracer = _Tracer(touched)
    graph = _traced(module, tracer)
    if graph is None:
        return None
    late = _late(graph, tracer)
    again = _again(graph, late)
    tail = late | again
    edge = [node for node in graph.nodes if node not in tail and any(user in tail for user in node.users)]
    if not edge or any(_in_the_way(node, late, tracer.root) for node in edge):
        return None
    return Cut(_trunk(tracer.root, graph, late, edge), _tail(tracer.root, graph, tail, edge))


def traces(module: nn.Module, touched: Collection[str]) -> bool:
    """Whether torch.fx can trace `module` down to the `touched` tensors."""
    return _traced(module, _Tracer(touched)) is not None


def _traced(module: nn.Module, tracer: _Tracer) -> fx.Graph | None:
    try:
        with _TRACING, guest("the network"):
            return tracer.trace(alias(module))
    except EvoensError:
        return None


class Tracer(fx.Tracer):
    """Calls the network as predictors do, with inputs alone: what else `forward` could be given has its default."""

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> tuple[Callable[..., Any], list[Any]]:
        """See torch.fx, which would make a placeholder of each argument, and take `is not None` for true."""
        inputs = self.create_proxy("placeholder", "inputs", (), {})
        return (lambda root, given: root._call_impl(given)), [self.root, inputs]


class _Tracer(Tracer):
    """Looks only into modules that hold a touched tensor; the others stay whole, and can be quick in their own way.

    While it traces, torch.fx hands it the modules that other threads call as well; it lets these pass.
    """

    def __init__(self, touched: Collection[str]) -> None:
        super().__init__()
        self.touched = touched
        self._thread = threading.get_ident()

    def holds(self, module: str) -> bool:
        """Whether a touched tensor is in `module`."""
        return any(name.startswith(f"{module}.") for name in self.touched)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """See torch.fx, as for the two below."""
        return not self.holds(module_qualified_name) or super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)


class _Part(fx.GraphModule):
    """A trunk or a tail; unlike torch.fx's it prints nothing when it raises."""

    def recompile(self) -> Any:
        """See torch.fx, which puts a call of its own in the place of the module's.

        It also lets the graph hold its module: a circle, so that gigabytes would wait for Python's garbage collection.
        """
        code = super().recompile()
        self.graph.owning_module = None
        type(self).__call__ = _CALL  # type: ignore[method-assign]
        return code


def _late(graph: fx.Graph, tracer: _Tracer) -> set[fx.Node]:
    """Return all that a touched tensor, or what comes of one, goes into."""
    late: set[fx.Node] = set()
    for node in graph.nodes:
        own = (node.op == "call_module" and tracer.holds(str(node.target))) or (
            node.op == "get_attr" and str(node.target) in tracer.touched
        )
        if own or any(given in late for given in node.all_input_nodes):
            late.add(node)
    return late


def _again(graph: fx.Graph, late: set[fx.Node]) -> set[fx.Node]:
    """Return what the tail finds out for itself: the network's own tensors, and the shapes of what it is given."""
    shapes = set[fx.Node]()
    for node in graph.nodes:
        asked = node.target in ("size", "dim", "numel") or (node.target is getattr and node.args[1] in SHAPES)
        if asked or (node.op == "call_function" and node.all_input_nodes and shapes.issuperset(node.all_input_nodes)):
            shapes.add(node)
    again = set[fx.Node]()
    for node in reversed(graph.nodes):
        wanted = node in shapes and any(user in late or user in again for user in node.users)
        if node.op == "get_attr" or (wanted and node not in late):
            again.add(node)
    return again


def _in_the_way(node: fx.Node, late: set[fx.Node], root: nn.Module) -> bool:
    """Whether what the tail needs of `node` cannot be told when the trunk is done: it is written to at another time."""
    writers = [user for user in node.users if _writes(user, node, root)]
    return node.op == "placeholder" or any(user not in late or not user.users for user in writers)


def _writes(user: fx.Node, node: fx.Node, root: nn.Module) -> bool:
    """Whether `user` may write into what `node` gave."""
    if user.op == "call_module":
        return bool(getattr(root.get_submodule(str(user.target)), "inplace", False))
    name = user.target if isinstance(user.target, str) else getattr(user.target, "__name__", "")
    in_place = name.endswith("_") or bool(user.kwargs.get("inplace"))  # torch.fx makes an addition of every `+=`
    return (user.args[:1] == (node,) and in_place) or user.kwargs.get("out") is node


def _trunk(root: nn.Module, whole: fx.Graph, late: set[fx.Node], edge: list[fx.Node]) -> nn.Module:
    graph, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    for node in whole.nodes:
        if node not in late:
            copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(tuple(copies[node] for node in edge))
    return _Part(root, graph)


def _tail(root: nn.Module, whole: fx.Graph, tail: set[fx.Node], edge: list[fx.Node]) -> nn.Module:
    graph, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    for node in edge:
        copies[node] = graph.placeholder(node.name)
    for node in edge:
        if any(_writes(user, node, root) for user in node.users):
            copies[node] = graph.call_method("clone", (copies[node],))  # the other children need it as it is
    for node in whole.nodes:
        if node in tail:
            copies[node] = graph.node_copy(node, copies.__getitem__)
    return _Part(root, graph)
