"""How far members differ inside: linear CKA between any layers of any two of them (DRE eq. 6)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from evoens.errors import ShapeError, SpecError, nearest

FEWEST = 4  # cases of a batch: the unbiased HSIC divides by n − 3


@contextmanager
def recorded(module: nn.Module, layers: Sequence[str]) -> Iterator[Mapping[str, Tensor]]:
    """Give a mapping that holds, after each forward pass of `module`, what its `layers` have put out.

    A layer that is passed several times holds the last.

    Raises:
        SpecError: there is no such layer.
    """
    known = dict(module.named_modules())
    for name in layers:
        if name not in known:
            raise SpecError(f'layer "{name}": expected one of the network\'s, found no such{nearest(name, known)}')
    seen: dict[str, Tensor] = {}

    def keep(name: str, output: object) -> None:
        if isinstance(output, Tensor):
            seen[name] = output.detach().clone()  # a copy: the next layer may work in place

    hooks = [known[name].register_forward_hook(lambda _m, _i, output, name=name: keep(name, output)) for name in layers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def layers_of(module: nn.Module, inputs: Tensor) -> list[str]:
    """Return the layers without layers inside that put out a tensor for `inputs` `(n, *input)`, in the order of use."""
    leaves = [name for name, layer in module.named_modules() if not list(layer.children())]
    with recorded(module, leaves) as seen, torch.inference_mode():
        module(inputs)
    return [name for name, output in seen.items() if output.dim() > 1 and len(output) == len(inputs)]


def cka(members: Sequence[nn.Module], layers: Sequence[str], batches: Iterable[Tensor]) -> Tensor:
    """Linear CKA between every layer of every member and every layer of every other, 0 to 1 (Kornblith et al. 2019).

    HSIC is averaged over batches by its unbiased estimator (Song et al. 2012; Nguyen, Raghu & Kornblith 2021), so that
    data of any size fit and the size of a batch has no say; an estimate may therefore fall a little below 0. The
    estimator is the inner product of the two U-centred Gram matrices (Székely & Rizzo 2014), so all pairs are one matrix
    product.

    Args:
        members: k networks, which all have these layers.
        layers: l names.
        batches: inputs `(n, *input)`, at least 4 each; what is left over in a smaller one is not used.

    Returns:
        `(k, l, k, l)` float64; 1 for a layer with itself.

    Raises:
        SpecError: a member has no such layer. ShapeError: no batch is large enough, or a layer put out no tensor.
    """
    total: Tensor | None = None
    for inputs in batches:
        if len(inputs) >= FEWEST:
            grams = torch.cat([_grams(module, layers, inputs) for module in members])
            found = grams @ grams.T / (len(inputs) * (len(inputs) - 3))
            total = found if total is None else total + found
    if total is None:
        raise ShapeError(f"CKA: expected a batch of at least {FEWEST} inputs, found none")
    own = total.diagonal().clamp_min(torch.finfo(torch.float64).tiny).sqrt()
    k, count = len(members), len(layers)
    return (total / (own[:, None] * own[None])).view(k, count, k, count)


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
