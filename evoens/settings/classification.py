"""The settings of image classification: data and their splits, the network, its training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BeforeValidator, Field

from evoens.settings.base import Conflict, Fraction, Layer, Natural, ParentSettings, PathText, ProblemSettings, Section
from evoens.settings.config import Config

DATASETS = ("digits", "spirals", "MNIST", "FashionMNIST", "CIFAR10", "CIFAR100", "ImageNet")
POOLS = ("train", "test")
"""What a data set may come in: CIFAR-10 has both, digits only the first."""

Share = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Unit = Annotated[float, Field(ge=0, le=1)]
Fitness = Literal["accuracy", "log-likelihood"]
MembersBy = Literal["accuracy", "nll", "calibrated-nll"]
ClassName = Annotated[
    str,
    BeforeValidator(lambda name: str(name) if type(name) is int else name),
    Field(json_schema_extra={"expected": "a class's name"}),
]


class Cut(Section):
    """A split: `count` images of a pool, or that share of it, or (null) all that the other splits leave."""

    from_: Literal["train", "test"] = Field(alias="from")
    """The pool that the split is cut from."""
    count: Annotated[
        Natural | Share | None,
        Field(json_schema_extra={"expected": "an integer ≥ 1, a share of the images between 0 and 1, or null"}),
    ] = None
    """The number of images, or the share of the pool; null is all that the other splits leave."""


class SplitCuts(Section):
    """The four disjoint splits, stratified by class: the parent learns on `train`, the rest it never sees."""

    train: Cut = Cut(from_="train")
    search: Cut = Cut(from_="train", count=0.1)
    select: Cut = Cut(from_="train", count=0.1)
    test: Cut = Cut(from_="test")
    allow_missing: bool = False
    """Whether a split, a pool or all of the data may be without an image of some class."""

    @property
    def cuts(self) -> dict[str, Cut]:
        """The splits by name."""
        return {name: cut for name, cut in self if isinstance(cut, Cut)}

    def conflicts(self) -> Iterator[Conflict]:
        """Only one split can have what the others leave, and shares of a pool must leave something to give."""
        cuts = self.cuts
        for pool in POOLS:
            here = [name for name, cut in cuts.items() if cut.from_ == pool]
            rest = [name for name in here if cuts[name].count is None]
            for name in rest[1:]:
                yield Conflict(
                    f"{name}.count", f"{rest[0]}.count", f"expected a number: {rest[0]} has what is left of {pool}"
                )
            shares = [name for name in here if isinstance(cuts[name].count, float)]
            total = sum(float(cuts[name].count or 0) for name in shares)
            if total > 1 or (rest not in ([], ["train"]) and total >= 1):  # whether train is needed is not known here
                needs = f", so that {rest[0]} has some" if rest and total == 1 else ""
                asked = " + ".join(f"{cuts[name].count:g} ({name})" for name in shares)
                message = f"expected shares of {pool} below 1 in all{needs}, found {asked}"
                yield Conflict(f"{shares[-1]}.count", f"{shares[0]}.count", message)


class Normalisation(Section):
    """Subtract `mean` from each channel of an image in [0, 1], then divide by `std`."""

    mean: Annotated[tuple[float, ...], Field(min_length=1)]
    """What is subtracted from each channel of an image in [0, 1]."""
    std: Annotated[tuple[Positive, ...], Field(min_length=1)]
    """What each channel is then divided by."""

    def conflicts(self) -> Iterator[Conflict]:
        """One number a channel, in both; images are grey or in colour."""
        if len(self.mean) not in (1, 3):
            yield Conflict("mean", "mean", f"expected 1 number for grey images, 3 for colour, found {len(self.mean)}")
        elif len(self.mean) != len(self.std):
            yield Conflict("std", "mean", f"expected {len(self.mean)} numbers, as mean has, found {len(self.std)}")


Corruption = Literal[
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur",
    "snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
    "speckle_noise", "gaussian_blur", "spatter", "saturate", "plasma", "checkerboard", "water_drop", "lines",
]  # fmt: skip
CORRUPTIONS: tuple[Corruption, ...] = get_args(Corruption)
PUBLISHED = CORRUPTIONS[:15]
"""The kinds over which cAcc, cNLL and cECE are published."""


class CorruptionSettings(Section):
    """The first `images` of the test split are looked at again, corrupted in each of `kinds` and `severities`."""

    kinds: Annotated[tuple[Corruption, ...], Field(min_length=1)] = PUBLISHED
    """The kinds of corruption."""
    severities: Annotated[tuple[Annotated[int, Field(ge=1, le=5)], ...], Field(min_length=1)] = (1, 2, 3, 4, 5)
    """How severe they are."""
    images: Natural = 1000
    """The first images of the test split are corrupted, so many."""


class ClassificationSettings(ProblemSettings):
    """Which images are classified, and how they are cut and shown to the network.

    Folders of classes may lie in `train/` and `test/` or `val/`. Photos are turned as their EXIF says, brought to 8
    bits a channel, and what is transparent is laid on white.
    """

    type: Literal["classification"]
    """Images in classes."""
    data: PathText
    """A named set, a folder with a folder of images for each class, or an `.npz` file."""
    splits: SplitCuts = SplitCuts()
    classes: Annotated[tuple[ClassName, ...], Field(min_length=1)] | None = None
    """The order in which the network has the classes; null is that of their names, of numbers as numbers."""
    split_seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Draws which images each split gets; runs of other seeds can so share a parent."""
    channels: Literal[1, 3] | None = None
    """1 for grey images, 3 for colour; null is as the data are."""
    image_size: Natural | None = None
    """The side of the square that is cropped from the centre; null where all images have one size."""
    resize: Natural | None = None
    """To what the shorter side is resized before the crop; null is `image_size`."""
    normalise: Normalisation | None = None
    """As the network learnt to see images; null is what the train split's images give."""
    augment: tuple[Literal["crop", "flip"], ...] = ()
    """For training: `crop` shifts by up to an eighth of the side, `flip` mirrors left and right."""
    score: Fitness = "accuracy"
    """What fitness is."""
    members_by: MembersBy = "calibrated-nll"
    """What the greedy selection of members aims at."""
    corruption: CorruptionSettings | None = None
    """Corrupted test images beside the clean ones; null is none."""

    @property
    def counts(self) -> dict[str, int]:
        """The splits whose sizes the YAML gives in numbers."""
        cuts = {name: getattr(self.splits, name).count for name in ("search", "select", "test")}
        return {name: count for name, count in cuts.items() if isinstance(count, int)}

    def conflicts(self) -> Iterator[Conflict]:
        """The crop lies within the resized image; one mean a channel; no class twice."""
        names = self.classes or ()
        for name in dict.fromkeys(name for name in names if names.count(name) > 1):
            yield Conflict("classes", "classes", f'expected each class once, found "{name}" {names.count(name)} times')
        if self.resize is not None and (self.image_size or self.resize + 1) > self.resize:
            yield Conflict(
                "resize", "image_size", f"expected at least image_size ({self.image_size}), found {self.resize}"
            )
        if self.normalise and self.channels and len(self.normalise.mean) != self.channels:
            message = f"expected {self.channels} numbers, as there are channels, found {len(self.normalise.mean)}"
            yield Conflict("normalise.mean", "channels", message)


class TrainSettings(Section):
    """How a network is trained, the parent or a child.

    The learning rate over the share of steps that are done:

    - `constant`: `learning_rate`.
    - `step`: times `decay` at each of `milestones`.
    - `linear`: `learning_rate` up to the first of two `milestones`, then along a line to `final_rate` at the second.
    - `cosine`: along a half cosine from `learning_rate` to `final_rate`.
    - `one-cycle`: up along a half cosine from `initial_rate` over the first `warmup`, then down to `final_rate`; the
      momentum moves inversely, from `momentum` to `low_momentum` and back (Smith & Topin 2018; dissertation 5.4, 5.5).

    `precision: auto` is bfloat16 where the processor or card computes in it, else float32, whatever a clock says.
    """

    epochs: Natural = 8
    """Passes over the train split."""
    batch: Natural = 128
    """Images of a step."""
    optimiser: Literal["adam", "sgd"] = "adam"
    """Adam, or SGD with Nesterov's momentum."""
    learning_rate: Positive = 1e-3
    """The highest, or the only one."""
    schedule: Literal["constant", "step", "linear", "cosine", "one-cycle"] = "constant"
    """How the learning rate goes on over the training."""
    milestones: tuple[Unit, ...] = (0.5, 0.75)
    """The shares of the steps at which `step` or `linear` changes it."""
    decay: Fraction = 0.1
    """The factor of `step` at each milestone."""
    initial_rate: Positive = 1e-3
    """Where `one-cycle` begins."""
    final_rate: NotNegative = 1e-7
    """Where `linear`, `cosine` and `one-cycle` end."""
    warmup: Share = 0.1
    """The share of the steps over which `one-cycle` goes up."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """SGD's, or Adam's first; the highest of `one-cycle`."""
    low_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.85
    """The lowest momentum of `one-cycle`."""
    weight_decay: NotNegative = 0.0
    """Its coefficient."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """In which it is trained; `auto` is bfloat16 where the processor or card computes in it, else float32."""

    def conflicts(self) -> Iterator[Conflict]:
        """Milestones go up; a line needs two."""
        if list(self.milestones) != sorted(self.milestones):
            yield Conflict("milestones", "milestones", "expected numbers that go up")
        if self.schedule == "linear" and len(self.milestones) != 2:
            message = f"expected two, where the line begins and ends, found {len(self.milestones)}"
            yield Conflict("milestones", "schedule", message)


class TuneSettings(TrainSettings):
    """How each child is trained after it is born; with no epochs it is not, and only its statistics may be taken anew.

    `batch_norm`: `learnt` keeps the running statistics that come out of the training (the parent's, with no epochs);
    `re-estimated` takes them anew at its end, as means over the train split, for the weights the child then has.
    """

    epochs: Annotated[int, Field(ge=0)] = 1
    """Passes over the train split; 0 trains no child."""
    batch_norm: Literal["learnt", "re-estimated"] = "learnt"
    """Running statistics as training leaves them, or taken anew at its end over the train split."""


class ClassifierParent(ParentSettings):
    """The network, where its weights are, and how it is trained when they are not there.

    The `checkpoint` is a file that evoens wrote, or a state dict, or `torchvision:IMAGENET1K_V1`. What it has learnt on
    is `train` (what the data call so), a folder or an .npz file of images or a list of these (`[]` where it has seen
    none of the data), or `unknown`.
    """

    network: PathText = "lenet-l"
    """One of ours, `torchvision.models:resnet50`, or `path/to/model.py:build`; its logits are bare, first in a tuple
    or under `logits` in a dict; or it gives one logit for two classes."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """What the network is built with."""
    weights: Layer | None = None
    """The key under which the weights lie in the checkpoint, where it has several, as `model` and `model_ema`."""
    learnt_on: Annotated[
        PathText | tuple[PathText, ...] | None,
        Field(json_schema_extra={"expected": "train, unknown, a path of images or a list of paths"}),
    ] = None
    """What a parent that was not trained here has learnt on; null is what its card says, else `unknown`."""
    train: TrainSettings = TrainSettings()
    independent: Annotated[int, Field(ge=0)] = 0
    """Networks that are trained from other seeds, to say how many of them the ensemble is worth."""


class ClassificationConfig(Config):
    """An experiment on a set of images; `tune` says how each child is trained, null that it is not."""

    sample: ClassVar[dict[str, Any]] = {**Config.sample, "problem": {"type": "classification", "data": "digits"}}

    problem: ClassificationSettings
    parent: ClassifierParent
    tune: TuneSettings | None = None

    @property
    def learnt_on(self) -> Literal["train", "unknown"] | tuple[str, ...]:
        """What a parent without a card has learnt on; torchvision's have learnt on ImageNet's train images."""
        said = self.parent.learnt_on
        if said is None:
            official = self.problem.data == "ImageNet" and self.parent.checkpoint.startswith("torchvision:")
            return "train" if official else "unknown"
        if said in ("train", "unknown"):
            return "train" if said == "train" else "unknown"
        return (said,) if isinstance(said, str) else said

    def conflicts(self) -> Iterator[Conflict]:
        """Racing goes on to further cases, and there are only as many as the search split has."""
        yield from super().conflicts()
        racing, count = self.search.racing, self.problem.splits.search.count
        if racing is None or (isinstance(count, int) and racing.levels <= count):
            return
        most = f"at most {count}, as" if isinstance(count, int) else "null: only the data tell how many images"
        message = f"expected {most} problem.splits.search has, found {racing.levels}"
        yield Conflict("search.racing.levels", "search.racing.levels", message)
