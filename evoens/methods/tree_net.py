"""TreeNet (Lee et al. 2015): one trunk of first layers, and a branch of the others for each member."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, fx, nn

from evoens.errors import SpecError
from evoens.graph.cut import cut
from evoens.graph.ends import traced
from evoens.methods.converting import draw_weights
from evoens.methods.joint import Joint
from evoens.methods.one_network import OneNetwork
from evoens.methods.setting import whole
from evoens.network.tensors import plain


class TreeNet(OneNetwork):
    """One network whose first layers are shared by all members; each has the others for itself.

    Args:
        members: how many there are.
        shared: the share of the network's layers with weights that all members share, in the order of computing.
    """

    name = "tree_net"

    def __init__(self, members: int = 3, shared: float = 0.5) -> None:
        whole("members", members)
        _check(shared)
        super().__init__("evoens.methods.tree_net:TreeNetwork", members=members, shared=shared)


class TreeNetwork(Joint):
    """A network whose first layers are shared; the others are there `k` times, the first time as they are.

    The other branches' weights are drawn anew. Losses of all branches add up in the trunk.

    Args:
        network: any that torch.fx can trace, and that computes the same in training but for dropout and statistics.
        members: k.
        shared: the share of its layers with weights, in the order of computing, that is in the trunk: at least the
            first, and never the last.

    Raises:
        SpecError: the network cannot be cut there; the message has the layer.
    """

    def __init__(self, network: nn.Module, members: int = 3, shared: float = 0.5) -> None:
        super().__init__(members)
        _check(shared)
        network = copy.deepcopy(network)
        plain(network)
        network.train()
        self.branches_at, touched = _branching(network, shared)
        parts = cut(network, touched)
        if parts is None:
            raise SpecError(
                f"layer {self.branches_at}: expected one that branches can begin at, found that the layers "
                "before it are used beyond it, or that torch.fx cannot trace into it; try another `shared`"
            )
        self.trunk = parts.trunk
        self.branches = nn.ModuleList([parts.tail, *(copy.deepcopy(parts.tail) for _ in range(members - 1))])
        for branch in self.branches[1:]:
            draw_weights(branch)

    def forward(self, x: Tensor) -> Tensor:
        """See `Joint.forward`."""
        features = self.trunk(x)
        return torch.stack([branch(*features) for branch in self.branches])


def _check(shared: float) -> None:
    if not 0 < shared < 1:
        raise SpecError(f"shared: expected a number > 0 and < 1, found {shared}", ("shared",))


def _branching(network: nn.Module, shared: float) -> tuple[str, list[str]]:
    """Return the first layer that is not shared, and the names of all tensors of layers from there on."""
    graph = traced(network)
    _require_same(graph, traced(network.eval()))
    network.train()
    called = [str(node.target) for node in graph.nodes if node.op == "call_module"]
    layers = [name for name in dict.fromkeys(called) if _has_weights(network.get_submodule(name))]
    if len(layers) < 2:
        raise SpecError(f"the network: expected two layers with weights at least, found {len(layers)}")
    at = layers[min(max(1, round(shared * len(layers))), len(layers) - 1)]
    late = dict.fromkeys(called[called.index(at) :])
    return at, [f"{name}.{key}" for name in late for key in network.get_submodule(name).state_dict()]


def _has_weights(layer: nn.Module) -> bool:
    return any(value.dim() > 1 for value in layer.parameters())


def _require_same(training: fx.Graph, asked: fx.Graph) -> None:
    """Raise where a network computes otherwise in training: what is traced would do so, or not, for good.

    Raises:
        SpecError: there is such a place.
    """
    for one, other in zip(training.nodes, asked.nodes, strict=False):
        if one.format_node() != other.format_node():
            alike = "to compute alike in training and when it is asked, but for layers such as nn.Dropout"
            raise SpecError(f"the network: expected {alike}, found a call of {one.name} that does not")
