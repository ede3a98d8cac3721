"""Reflected subnetworks: noise around the parent, and around its mirror image; no training."""

from __future__ import annotations

import math
from random import Random

import torch
from torch import Tensor

from evoens import noise
from evoens.errors import SpecError
from evoens.genome import Gene, Genome
from evoens.strategy import Strategy


class Reflected(Strategy):
    """Every other draw of noise is laid around the parent's mirror image.

    With its kernels turned left to right, and its first linear layer reading the turned map, a network says of an image
    what it said of the mirrored one: where images mean the same in a mirror, and the network was trained on them one
    way round, that is another good network, far away in weights. An ensemble of both is what averaging over flipped
    inputs gives (Krizhevsky et al. 2012), put into weights. Exact where strides and padding meet both borders alike.

    Not for digits or letters, nor for games whose actions have sides.
    For one generation: over several the side whose children are a little better by themselves drives the other out, and
    what the two gain together goes with it.
    """

    def ask(self, n: int, rng: Random) -> list[Genome]:
        """Return `n` new genomes: as any Strategy, but that every other draw starts with a reflection.

        What is stacked on an elite is reflected if the elite is.
        """
        turned, draw = self._reflection(), 2 * self.parts
        genomes = super().ask(n, rng)
        if self.elites:
            return genomes
        return [Genome((turned, *g.genes)) if i // draw % 2 else g for i, g in enumerate(genomes)]

    def perturb(self, name: str, weight: Tensor, gene: Gene) -> Tensor:
        """Turn the weight left to right, by a reflection's gene; else add noise where the mask holds (eq. 4.8–4.11)."""
        for _, channels in gene.extra:
            return weight.flip(-1) if weight.dim() > 2 else _turned(weight, int(channels))
        step = noise.normals(gene.seed, name, weight.shape, weight.device).mul_(gene.sign * gene.scale)
        if gene.mask is None:
            return weight + step
        return torch.where(noise.keep(gene.mask, name, weight.shape, weight.device), weight + step, weight)

    def _reflection(self) -> Gene:
        """Return the gene that turns the parent: all kernels, and the layer that reads the last map, if one does.

        Raises:
            SpecError: there is nothing to turn, or the map that is read is not square.
        """
        weights = self.parent.weights if self.parent is not None else {}
        names = self.parent.perturbed if self.parent is not None else ()
        kernels = [name for name in names if weights[name].dim() > 2]
        if not kernels:
            raise SpecError("Reflected: expected a network with convolutions, found none")
        reader = next((name for name in names[names.index(kernels[-1]) :] if weights[name].dim() == 2), None)
        channels = weights[kernels[-1]].shape[0]
        read = weights[reader].shape[1] if reader else channels
        if read % channels or math.isqrt(read // channels) ** 2 != read // channels:
            message = f"Reflected: expected {reader} to read a square map of {channels} channels"
            raise SpecError(f"{message}, found {read} numbers")
        scope = (*kernels, reader) if reader and read > channels else tuple(kernels)
        return Gene(0, 1.0, extra=(("channels", float(channels)),), scope=scope)


def _turned(weight: Tensor, channels: int) -> Tensor:
    """Return a linear layer's weight `(out, channels · side²)` as it reads the map turned left to right."""
    side = math.isqrt(weight.shape[1] // channels)
    return weight.view(-1, channels, side, side).flip(-1).reshape(weight.shape)
