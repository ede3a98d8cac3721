"""The settings of the diversity analysis: which parts, and how much of each."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field

from evoens.diversity.behaviour import behaviours
from evoens.diversity.measures import MEASURES
from evoens.settings.base import Fraction, Layer, Natural, Section

Part = Literal["outputs", "clusters", "activations", "attribution", "features", "landscape", "mutations"]
PARTS: tuple[Part, ...] = get_args(Part)


def _measure(name: str) -> str:
    """Refuse what is no measure of diversity."""
    if name not in MEASURES:
        raise ValueError(f"expected one of {', '.join(MEASURES)}")
    return name


def _choices(schema: dict[str, Any]) -> None:
    schema["enum"] = list(MEASURES)


MeasureName = Annotated[str, AfterValidator(_measure), Field(json_schema_extra=_choices)]
"""Of what two members answer; or, by a hash, of what they look at."""


def _behaviour(name: str) -> str:
    """Refuse what is no descriptor of a child."""
    if name not in behaviours():
        raise ValueError(f"expected one of {', '.join(behaviours())}")
    return name


def _descriptors(schema: dict[str, Any]) -> None:
    schema["enum"] = list(behaviours())


BehaviourName = Annotated[str, AfterValidator(_behaviour), Field(json_schema_extra=_descriptors)]
"""Of what one child is like by itself: its distance to the parent by a measure, or what its answers are."""
Several = Annotated[int, Field(ge=4)]


class OutputSettings(Section):
    """How members differ in what they answer on so many inputs."""

    inputs: Several = 10_000
    """The inputs whose answers are compared."""


class ClusterSettings(Section):
    """t-SNE of what members answer on so many inputs."""

    inputs: Annotated[int, Field(ge=30)] = 1000
    """The inputs whose answers are laid out by t-SNE."""


class ActivationSettings(Section):
    """CKA of these layers (null: all that have no layers inside) on so many inputs."""

    inputs: Several = 1024
    """The inputs whose activations are compared."""
    layers: Annotated[tuple[Layer, ...], Field(min_length=1)] | None = None
    """The layers that are compared; null is all that have no layers inside."""


class AttributionSettings(Section):
    """What members look at in so many inputs."""

    inputs: Natural = 256
    """The inputs on which is seen what members look at."""
    method: Literal["saliency", "smoothgrad", "integrated-gradients"] = "smoothgrad"
    """How that is measured."""


class FeatureSettings(Section):
    """Pictures that raise (`sign: 1`) or lower `units` units of a layer most.

    Without a `layer` it is the last convolution, or where the members share that, the first layer they do not share.
    They are found in so many steps, twice for each network: the second time from another seed, for the null floor.
    """

    layer: Layer | None = None
    """Whose units are pictured; null is the last convolution, or the first layer that members do not share."""
    units: Natural = 16
    """How many units are pictured."""
    sign: Literal[1, -1] = 1
    """1 for what raises a unit most, -1 for what lowers it."""
    steps: Natural = 256
    """The steps of the search for a picture."""


class LandscapeSettings(Section):
    """The loss on so many inputs, on a grid of `points` by `points` networks around the parent."""

    inputs: Several = 1000
    """The inputs on which the loss is measured."""
    points: Annotated[int, Field(ge=3, le=101)] = 21
    """The networks along each side of the grid."""


class MutationSettings(Section):
    """What noise of each strength on each share of the weights does to so many `children`, on so many inputs."""

    inputs: Several = 1000
    """The inputs on which children are measured."""
    children: Several = 8
    """The children of each strength and share."""
    sigmas: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=2)] = (0.005, 0.01, 0.02, 0.05, 0.1)
    """The strengths of noise."""
    densities: Annotated[tuple[Fraction, ...], Field(min_length=1)] = (1.0, 0.5, 0.1)
    """The shares of the weights that are touched."""


class DiversitySettings(Section):
    """What `python -m evoens diversity` looks at; the run itself watches a little of it in each generation."""

    parts: Annotated[tuple[Part, ...], Field(min_length=1)] = PARTS
    """What is looked at."""
    outputs: OutputSettings = OutputSettings()
    clusters: ClusterSettings = ClusterSettings()
    activations: ActivationSettings = ActivationSettings()
    attribution: AttributionSettings = AttributionSettings()
    features: FeatureSettings = FeatureSettings()
    landscape: LandscapeSettings = LandscapeSettings()
    mutations: MutationSettings = MutationSettings()
