"""Cut a network in two: what its children share, computed once, and the rest, computed for each."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn

from evoens.tensors import first_names

Features = tuple[Tensor, ...]
"""What a trunk makes of inputs, a row an input in each."""

Given = Tensor | Features
"""What a network is given: inputs `(n, *input)`; or, where it is a tail, what the trunk has made of them."""

_TRACING = threading.Lock()


@dataclass(frozen=True)
class Cut:
    """A network as `tail(*trunk(inputs))`: no touched tensor has a part in the trunk.

    Both keep the names of the network's tensors. The trunk gives a tuple of tensors, each with a row an input.
    """

    trunk: nn.Module
    tail: nn.Module


def cut(module: nn.Module, touched: Collection[str]) -> Cut | None:
    """Cut copies of `module` as late as the `touched` tensors allow.

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
    edge = [n for n in graph.nodes if n.op != "get_attr" and n not in late and any(user in late for user in n.users)]
    if not edge or any(_in_the_way(node, late, tracer.root) for node in edge):
        return None
    return Cut(_trunk(tracer.root, graph, late, edge), _tail(tracer.root, graph, late, edge))


def traces(module: nn.Module, touched: Collection[str]) -> bool:
    """Whether torch.fx can trace `module` down to the `touched` tensors."""
    return _traced(module, _Tracer(touched)) is not None


def _traced(module: nn.Module, tracer: _Tracer) -> fx.Graph | None:
    try:
        with _TRACING:
            return tracer.trace(copy.deepcopy(module))
    except Exception:  # whatever user code does when it is traced
        return None


class _Tracer(fx.Tracer):
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
    return user.args[:1] == (node,) and in_place


def _trunk(root: nn.Module, whole: fx.Graph, late: set[fx.Node], edge: list[fx.Node]) -> nn.Module:
    graph, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    for node in whole.nodes:
        if node not in late:
            copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(tuple(copies[node] for node in edge))
    return fx.GraphModule(root, graph)


def _tail(root: nn.Module, whole: fx.Graph, late: set[fx.Node], edge: list[fx.Node]) -> nn.Module:
    graph, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    for node in edge:
        copies[node] = graph.placeholder(node.name)
    for node in edge:
        if any(_writes(user, node, root) for user in node.users):
            copies[node] = graph.call_method("clone", (copies[node],))  # the other children need it as it is
    for node in whole.nodes:
        if node in late or node.op == "get_attr":
            copies[node] = graph.node_copy(node, copies.__getitem__)
    return fx.GraphModule(root, graph)
