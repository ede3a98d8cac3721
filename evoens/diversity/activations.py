"""How far members differ inside: linear CKA between any layers of any two of them (DRE eq. 6)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from evoens.diversity.reading import layer_of, layers
from evoens.errors import ShapeError

FEWEST = 4  # cases of a batch: the unbiased HSIC divides by n − 3


@contextmanager
def recorded(module: nn.Module, names: Sequence[str]) -> Iterator[Mapping[str, Tensor]]:
    """Give a mapping that holds, after each forward pass of `module`, what the layers of these names have put out.

    A layer that is passed several times holds the last.

    Raises:
        SpecError: there is no such layer.
    """
    found = {name: layer_of(module, name) for name in names}
    seen: dict[str, Tensor] = {}

    def keep(name: str, output: object) -> None:
        if isinstance(output, Tensor):
            seen[name] = output.detach().clone()  # a copy: the next layer may work in place

    hooks = [
        layer.register_forward_hook(lambda _m, _i, output, name=name: keep(name, output))
        for name, layer in found.items()
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def innermost(module: nn.Module, inputs: Tensor) -> list[str]:
    """Return the layers without layers inside that put out a tensor for `inputs` `(n, *input)`."""
    return [name for name in layers(module, inputs) if not list(layer_of(module, name).children())]


def hsic(members: Iterable[nn.Module], layers: Sequence[str], inputs: Tensor) -> Tensor:
    """Unbiased HSIC of every layer of every member with every layer of every other (Song et al. 2012, eq. 5).

    It is the inner product of the two U-centred Gram matrices (Székely & Rizzo 2014), so all pairs are one matrix
    product.

    Args:
        members: k networks, which all have these layers; each is done with before the next is asked for.
        layers: l names.
        inputs: `(n, *input)`, at least 4.

    Returns:
        `(k, l, k, l)` float64.

    Raises:
        SpecError: a member has no such layer. ShapeError: there are too few inputs, or a layer put out no tensor.
    """
    n = len(inputs)
    if n < FEWEST:
        raise ShapeError(f"HSIC: expected a batch of at least {FEWEST} inputs, found {n}")
    grams = torch.cat([_grams(module, layers, inputs) for module in members])
    k = len(grams) // len(layers)
    return (grams @ grams.T / (n * (n - 3))).view(k, len(layers), k, len(layers))


def cka(summed: Tensor) -> Tensor:
    """Linear CKA (Kornblith et al. 2019) from HSIC summed over batches of one size (Nguyen, Raghu & Kornblith 2021).

    The estimate of HSIC has no bias, so the size of a batch has no say, and data of any size fit; an estimate may
    therefore fall a little below 0.

    summed: `(k, l, k, l)`, as `hsic` gives them.

    Returns:
        `(k, l, k, l)`; 1 for a layer with itself.
    """
    k, count = summed.shape[:2]
    flat = summed.reshape(k * count, k * count)
    own = flat.diagonal().clamp_min(torch.finfo(torch.float64).tiny).sqrt()
    return (flat / (own[:, None] * own[None])).view(summed.shape)


def _grams(module: nn.Module, layers: Sequence[str], inputs: Tensor) -> Tensor:
    """The U-centred Gram matrices of a network's layers on a batch, a row each: `(l, n²)`."""
    with recorded(module, layers) as seen, torch.inference_mode():
        module(inputs)
    missing = [name for name in layers if name not in seen]
    if missing:
        raise ShapeError(f'layer "{missing[0]}": expected a tensor from it, found none: the network does not pass it')
    return torch.stack([_centred(seen[name].flatten(1).float()).flatten() for name in layers])


def _centred(features: Tensor) -> Tensor:
    """The U-centred Gram matrix of features `(n, d)`: float64, zeros on the diagonal."""
    n = len(features)
    features = features - features.mean(0)  # has no say in the result, but in what rounding does to it
    gram = (features @ features.T).double().fill_diagonal_(0)
    rows = gram.sum(1) / (n - 2)
    centred = gram - rows[:, None] - rows[None] + gram.sum() / ((n - 1) * (n - 2))
    return centred.fill_diagonal_(0)
