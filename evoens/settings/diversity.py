"""The settings of the diversity analysis: which parts, and how much of each."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from evoens.settings.base import Fraction, Layer, Natural, Section

Part = Literal["outputs", "clusters", "activations", "attribution", "features", "landscape", "mutations"]
PARTS: tuple[Part, ...] = get_args(Part)
Distance = Literal[
    "disagreement", "kl", "correlation", "cosine", "average", "perceptual", "difference", "wavelet", "colour"
]
"""Between two members: of what they answer; or, by one of the five hashes, of what they look at."""
Several = Annotated[int, Field(ge=4)]


class OutputSettings(Section):
    """How members differ in what they answer on so many inputs."""

    inputs: Several = 10_000


class ClusterSettings(Section):
    """t-SNE of what members answer on so many inputs."""

    inputs: Annotated[int, Field(ge=30)] = 1000


class ActivationSettings(Section):
    """CKA of these layers (null: all that have no layers inside) on so many inputs."""

    inputs: Several = 1024
    layers: Annotated[tuple[Layer, ...], Field(min_length=1)] | None = None


class AttributionSettings(Section):
    """What members look at in so many inputs."""

    inputs: Natural = 256
    method: Literal["saliency", "smoothgrad", "integrated-gradients"] = "smoothgrad"


class FeatureSettings(Section):
    """Pictures that raise (`sign: 1`) or lower `units` units of a layer most.

    Without a `layer` it is the last convolution, or where the members share that, the first layer they do not share.
    They are found in so many steps, twice for each network: the second time from another seed, for the null floor.
    """

    layer: Layer | None = None
    units: Natural = 16
    sign: Literal[1, -1] = 1
    steps: Natural = 256


class LandscapeSettings(Section):
    """The loss on so many inputs, on a grid of `points` by `points` networks around the parent."""

    inputs: Several = 1000
    points: Annotated[int, Field(ge=3, le=101)] = 21


class MutationSettings(Section):
    """What noise of each strength on each share of the weights does to so many `children`, on so many inputs."""

    inputs: Several = 1000
    children: Several = 8
    sigmas: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=2)] = (0.005, 0.01, 0.02, 0.05, 0.1)
    densities: Annotated[tuple[Fraction, ...], Field(min_length=1)] = (1.0, 0.5, 0.1)


class DiversitySettings(Section):
    """What `python -m evoens diversity` looks at; the run itself watches a little of it in each generation."""

    parts: Annotated[tuple[Part, ...], Field(min_length=1)] = PARTS
    outputs: OutputSettings = OutputSettings()
    clusters: ClusterSettings = ClusterSettings()
    activations: ActivationSettings = ActivationSettings()
    attribution: AttributionSettings = AttributionSettings()
    features: FeatureSettings = FeatureSettings()
    landscape: LandscapeSettings = LandscapeSettings()
    mutations: MutationSettings = MutationSettings()
