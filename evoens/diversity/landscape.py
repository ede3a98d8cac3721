"""The loss around trained networks: on the plane through three of them, and along two random directions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from evoens import noise
from evoens.errors import ShapeError

Weights = Mapping[str, Tensor]

FLAT = 0.01  # of its length: the least height of a triangle. Mirrored float32 children are rounded off their line


@dataclass(frozen=True, slots=True)
class Plane:
    """Two directions in the space of weights, from an origin; what is no floating-point number stays the origin's.

    Attributes:
        origin: the weights at (0, 0).
        first: the direction of x, by tensor.
        second: the direction of y.
        networks: the coordinates of the networks it was made through, `(m, 2)`.
    """

    origin: Weights
    first: Weights
    second: Weights
    networks: tuple[tuple[float, float], ...]

    def at(self, x: float, y: float) -> dict[str, Tensor]:
        """Return the weights at a point."""
        moved = {name: self.origin[name] + x * self.first[name] + y * self.second[name] for name in self.first}
        return {**self.origin, **moved}


def through(a: Weights, b: Weights, c: Weights) -> Plane:
    """Return the plane through three networks, in units of their distance (Garipov et al. 2018, section 3.3).

    a is at (0, 0), b on the axis of x, and c above it; lengths are Euclidean, over all weights.

    Raises:
        ShapeError: the networks lie on one line, or are not of one shape.
    """
    shapes = [{name: weight.shape for name, weight in weights.items()} for weights in (a, b, c)]
    if not shapes[0] == shapes[1] == shapes[2]:
        raise ShapeError("a plane: expected three networks of one shape, found others")
    names = [name for name, weight in a.items() if weight.is_floating_point()]
    u = {name: b[name].double() - a[name].double() for name in names}
    w = {name: c[name].double() - a[name].double() for name in names}
    length = _dot(u, u) ** 0.5
    along = _dot(u, w) / length if length else 0.0
    v = {name: w[name] - u[name] * (along / length if length else 0.0) for name in names}
    height = _dot(v, v) ** 0.5
    if length == 0 or height <= FLAT * max(length, abs(along)):
        raise ShapeError("a plane: expected three networks that are not on one line, found some that are")
    first = {name: (d / length).to(a[name].dtype) for name, d in u.items()}
    second = {name: (d / height).to(a[name].dtype) for name, d in v.items()}
    return Plane(a, first, second, ((0.0, 0.0), (length, 0.0), (along, height)))


def around(weights: Weights, seed: int) -> Plane:
    """Return two random directions from a network, each filter as long as the network's own (Li et al. 2018, eq. 1).

    A filter is what leads into one channel or neuron. Tensors of one axis (biases, normalisation) stay as they are.
    """
    first, second = (_direction(weights, 2 * seed + axis) for axis in range(2))
    return Plane(weights, first, second, ((0.0, 0.0),))


def _direction(weights: Weights, seed: int) -> dict[str, Tensor]:
    found = {}
    for name, weight in weights.items():
        if not weight.is_floating_point():
            continue
        if weight.dim() < 2:
            found[name] = torch.zeros_like(weight)
            continue
        drawn = noise.normals(seed, name, weight.shape, weight.device)
        found[name] = (drawn * _lengths(weight) / _lengths(drawn)).to(weight.dtype)
    return found


def _lengths(weight: Tensor) -> Tensor:
    """The length of each filter, the first axis: `(m, 1, …)`."""
    lengths: Tensor = torch.linalg.vector_norm(weight, dim=tuple(range(1, weight.dim())), keepdim=True)
    return lengths


def _dot(a: Weights, b: Weights) -> float:
    return float(sum((a[name] * b[name]).sum() for name in a))
