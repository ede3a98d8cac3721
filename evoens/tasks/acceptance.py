"""Whether a network is a classifier of the images at hand: it takes them, and gives logits, one for each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from evoens.errors import EvoensError, ProblemError, ShapeError
from evoens.network.adapt import chosen, layout
from evoens.parent import Parent
from evoens.plugins.guest import guest

# what may stand after a sigmoid without making its outputs others, as autograd calls it
_PASSED = {"View", "UnsafeView", "Reshape", "Squeeze", "Unsqueeze", "Clone", "ToCopy", "Clamp", "Slice", "Select"}


def accept(parent: Parent, inputs: Tensor, classes: Sequence[str], trained: bool) -> None:
    """Try the parent on some `inputs` `(n, c, h, w)`; settle its layout, and its notes on how outputs are understood.

    trained: whether its children are to be.

    Raises:
        ProblemError: it does not take these images, gives no logits, one for each class, or has nothing to perturb.
    """
    shape = tuple(inputs.shape[1:])
    what = f"images {shape} (channels, height, width)" if len(shape) == 3 else f"inputs of shape {shape}"
    try:
        with guest(f"the parent does not take {what}", ProblemError):
            parent.layout = layout(parent.module, inputs)
            tried = parent.trainable()
            asked = _given(tried, inputs)
            learnt_by = _given(tried.train(), inputs) if trained else asked
    except EvoensError as error:
        raise ProblemError(f"{error}{_advice(parent, inputs)}") from error
    _require_logits(asked, (len(inputs), len(classes)))
    if not parent.perturbed:
        raise ProblemError("the parent: expected linear or convolutional layers, found none to perturb")
    parent.notes = tuple(_notes(asked, learnt_by, classes))


def _advice(parent: Parent, inputs: Tensor) -> str:
    """Say so where the network is in another precision, takes grey images as colour, or those in colour as grey."""
    for name, value in parent.weights.items():
        if value.is_floating_point() and value.dtype != torch.float32:
            found = str(value.dtype).removeprefix("torch.")
            return f"; expected a network in float32, as module.float() makes it, found {name} of {found}"
    if inputs.dim() != 4:
        return ""
    channels = 3 if inputs.shape[1] == 1 else 1
    try:
        with guest("the parent"):
            _given(parent.trainable(), inputs.narrow(1, 0, 1).repeat(1, channels, 1, 1))
    except EvoensError:  # neither
        return ""
    return f"; with `problem.channels: {channels}` it does"


def _given(module: nn.Module, inputs: Tensor) -> Any:
    """Return what the network's own code gives, before logits are made of it, and draw from no generator."""
    with torch.enable_grad(), torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        return module.forward(inputs.contiguous().clone())  # contiguous as the weights are


def _require_logits(given: Any, expected: tuple[int, int]) -> None:
    try:
        outputs: Tensor = chosen(given)
    except ShapeError as error:
        found = type(given).__name__
        raise ProblemError(f"the parent: expected {expected} logits, images × classes, found {found}") from error
    if tuple(outputs.shape) != expected and not (_single(outputs) and expected[1] == 2):
        found = str(tuple(outputs.shape))
        raise ProblemError(f"the parent: expected {expected} logits, images × classes, found {found}")
    of_sums = outputs.dim() > 1 and (outputs >= 0).all() and (outputs.float().sum(-1) - 1).abs().max() < 1e-4
    if (end := _end(outputs) or ("softmax" if of_sums and not _single(outputs) else None)) is not None:
        raise ProblemError(f"the parent: expected logits, found probabilities; leave the {end} at its end out")


def _single(outputs: Tensor) -> bool:
    return outputs.dim() == 1 or outputs.shape[1:] == (1,)


def _end(outputs: Tensor) -> str | None:
    """Return which of sigmoid and softmax the outputs come from, as autograd has written it down."""
    node: Any = outputs.grad_fn
    while node is not None:
        kind = type(node).__name__.partition("Backward")[0]
        if kind in ("Sigmoid", "Softmax"):
            return kind.lower()
        node = node.next_functions[0][0] if kind in _PASSED else None
    return None


def _notes(asked: Any, learnt_by: Any, classes: Sequence[str]) -> list[str]:
    found = []
    if not isinstance(asked, Tensor):
        found.append(f"the network gives {_kind(asked)}: what is taken for its logits is {_which(asked)}")
    elif not isinstance(learnt_by, Tensor):
        what = f"while it is trained the network gives {_kind(learnt_by)}: children learn by {_which(learnt_by)} alone"
        found.append(what)
    if _single(chosen(asked)):
        what = f"the network gives one logit an image: it is taken for that of {classes[1]!r}, beside a zero for"
        found.append(f"{what} {classes[0]!r}")
    return found


def _kind(given: Any) -> str:
    parts = f" of {len(given)} parts" if hasattr(given, "__len__") else ""
    return f"{type(given).__name__}{parts}"


def _which(given: Any) -> str:
    own = given.get("logits") if isinstance(given, dict) else getattr(given, "logits", None)
    return "what it calls logits" if own is not None else "its first tensor"
