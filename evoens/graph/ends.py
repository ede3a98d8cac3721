"""Find the two ends of a network: the layers that take its inputs, and the one that its logits come from."""

from __future__ import annotations

from torch import fx, nn

from evoens.errors import EvoensError, SpecError
from evoens.graph.cut import Tracer
from evoens.graph.shrink import ELEMENTWISE, FLATTEN, MEAN, POOLS
from evoens.network.adapt import logits
from evoens.plugins.guest import guest

RESHAPED = ("view", "reshape", "squeeze", logits)
"""What may come between the last layer and the logits, beside what leaves every channel to itself."""


def traced(module: nn.Module) -> fx.Graph:
    """Return the graph of `module`, as it computes in its mode.

    Raises:
        EvoensError: torch.fx cannot trace it.
    """
    with guest("expected a network that torch.fx can trace, found one that it cannot", EvoensError):
        return Tracer().trace(module)


def first_layers(module: nn.Module, graph: fx.Graph) -> list[str]:
    """Return the names of the layers with parameters that the inputs go into, through none that has any.

    Raises:
        SpecError: the inputs meet a parameter outside of a layer.
    """
    found, waiting = dict[str, None](), [node for node in graph.nodes if node.op == "placeholder"]
    seen = set(waiting)
    while waiting:
        for user in waiting.pop().users:
            if user in seen:
                continue
            seen.add(user)
            for given in user.all_input_nodes:
                if given.op == "get_attr":
                    raise SpecError(f"{given.target}: expected the inputs to go into layers, found a tensor by itself")
            if _has_parameters(module, user):
                found[str(user.target)] = None
            else:
                waiting.append(user)
    return list(found)


def last_layer(module: nn.Module, graph: fx.Graph) -> str:
    """Return the name of the layer whose channels are the logits, each by itself.

    Raises:
        SpecError: there is none; the message has what is in the way.
    """
    node = next(iter(graph.output_node().all_input_nodes))
    while not _has_parameters(module, node):
        layer = module.get_submodule(str(node.target)) if node.op == "call_module" else None
        kind = node.target if layer is None else type(layer)
        if kind not in (*ELEMENTWISE, *POOLS, *FLATTEN, *MEAN, *RESHAPED):
            found = getattr(kind, "__name__", kind)
            raise SpecError(f"{node.name}: expected the last layer to give the logits, found {found} after it")
        node = node.all_input_nodes[0]
    return str(node.target)


def _has_parameters(module: nn.Module, node: fx.Node) -> bool:
    return node.op == "call_module" and any(True for _ in module.get_submodule(str(node.target)).parameters())
