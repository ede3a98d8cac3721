"""Saliency: which pixels a member's greedy action hangs on (Simonyan et al. 2014; SmoothGrad, Smilkov et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from captum.attr import Saliency
from matplotlib import colormaps
from torch import Tensor

from evoens.errors import ShapeError
from evoens.parent import LogitsFn

SIGMA = 4.0  # of the faint noise, in grey levels of 255
COPIES = 4  # noisy copies of each frame in either draw
PIXELS = 1 << 17  # that are looked at together: a gradient keeps what every layer has made of each

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class View:
    """One member seen through noisy copies of n frames: probabilities `(s·n, c)` and saliency maps `(n, h, w)`."""

    outputs: Tensor
    maps: Tensor


def noisy_copies(frames: Tensor, copies: int, sigma: float, seed: int) -> Tensor:
    """Return `copies` of each frame with Gaussian noise of `sigma` grey levels: float32 `(copies, n, c, h, w)`.

    Args:
        frames: `(n, c, h, w)`, 0 to 255.
        copies: noisy copies of each frame.
        sigma: standard deviation of the noise, in grey levels of 255.
        seed: of the noise; the global random state is neither read nor changed.
    """
    if frames.dim() != 4:
        raise ShapeError(f"frames: expected shape (n, c, h, w), found {tuple(frames.shape)}")
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn((copies, *frames.shape), generator=generator).mul_(sigma)
    return noise.to(frames.device).add_(frames)


def view(module: LogitsFn, copies: Tensor, actions: Tensor) -> View:
    """See through one member: what it answers on noisy frames, and which pixels the probability of its action hangs on.

    The map is SmoothGrad (IDA eq. 15): the absolute values of the averaged gradients, summed over channels.

    Args:
        module: frames to logits; its weights need no gradient.
        copies: noisy frames `(s, n, c, h, w)`.
        actions: the action to explain for each frame, `(n,)`.
    """
    outputs, found = gradients(module, copies, actions)
    return View(outputs.cpu(), found.abs().sum(1).cpu())


def gradients(module: LogitsFn, copies: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of the action's probability by the frame, averaged over its noisy copies.

    Args:
        module: frames to logits; its weights need no gradient.
        copies: noisy frames `(s, n, c, h, w)`.
        actions: the action to explain for each frame, `(n,)`.

    Returns:
        The probabilities `(s·n, classes)` of the copies, and the mean gradients `(n, c, h, w)`.
    """
    s = len(copies)
    seen: list[Tensor] = []

    def probabilities(frames: Tensor) -> Tensor:
        # A copy, since a network may scale its input in place, which a leaf of the gradient does not allow.
        seen.append(torch.softmax(module(frames.clone()).float(), dim=-1))
        return seen[-1]

    batch = copies.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    few = max(1, PIXELS // (batch.shape[-2] * batch.shape[-1]))
    found, outputs = list[Tensor](), list[Tensor]()
    for some, own in zip(torch.split(batch, few), torch.split(actions.repeat(s), few), strict=True):
        found.append(Saliency(probabilities).attribute(some.requires_grad_(), target=own, abs=False).detach())
        outputs.append(seen.pop().detach())
    return torch.cat(outputs), torch.cat(found).reshape(copies.shape).mean(0)


def greedy_actions(module: LogitsFn, frames: Tensor) -> Tensor:
    """The action of the highest logit for each of the frames `(n, c, h, w)`: `(n,)`."""
    with torch.no_grad():
        actions: Tensor = module(frames.to(torch.float32, copy=True)).argmax(-1)
    return actions


@lru_cache(maxsize=1)
def _palette() -> Pixels:
    colours: Pixels = np.round(colormaps["magma"](np.arange(256))[:, :3] * 255).astype(np.uint8)
    return colours


def unit_maps(maps: Tensor) -> npt.NDArray[np.float32]:
    """Scale each map to 0..1 by its own 99th percentile, so that one hot pixel does not hide the rest.

    Args:
        maps: `(…, h, w)`, none negative; a map of zeros stays one.
    """
    x = maps.float().numpy()
    top = np.quantile(x, 0.99, axis=(-2, -1), keepdims=True)
    top = np.where(top > 0, top, np.maximum(x.max((-2, -1), keepdims=True), np.finfo(np.float32).tiny))
    return np.asarray(np.minimum(x / top, 1), dtype=np.float32)


def coloured(maps: Tensor) -> Pixels:
    """Paint maps `(…, h, w)` with magma, which colour-blind readers see too: RGB `(…, h, w, 3)` uint8."""
    painted: Pixels = _palette()[np.round(unit_maps(maps) * 255).astype(np.uint8)]
    return painted
