"""What a run takes in seconds and gigabytes, from one pass of its network through some of its inputs, here and now."""

from __future__ import annotations

import copy
import resource
import time
from collections.abc import Mapping
from typing import Any, get_args

import torch
from torch import Tensor, nn

from evoens.commands.estimate import stages
from evoens.config.load import Loaded
from evoens.errors import EvoensError, ProblemError, one_line
from evoens.memory import GIGABYTE, nbytes
from evoens.problem import FixedInputs, SplitName
from evoens.settings.classification import DATASETS, ClassificationConfig
from evoens.sigma_search import frames
from evoens.tasks import open_task
from evoens.tasks.data.layout import data_root
from evoens.tasks.data.named import OWN
from evoens.threads import lanes

INPUTS = 4  # that take the pass
COPIES = 2  # of each member: one that predicts, one that is looked into


def measured(loaded: Loaded, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `one_pass` tells; without the data or the network, why nothing is known."""
    try:
        return one_pass(loaded, found)
    except EvoensError as error:
        return {"not measured": one_line(error)}


def one_pass(loaded: Loaded, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return `seconds` and `gigabytes` of the run, and of one input's pass `seconds_a_pass`.

    Training is left out, and so is what children save by sharing what comes before the layers that they touch.

    Args:
        loaded: the checked YAML.
        found: what is known already: of games `passes`, where the parent's card tells how long they last.

    Raises:
        EvoensError: the data or the network cannot be had.
    """
    config = loaded.config
    _downloads_nothing(loaded)
    task = open_task(config, loaded.base)
    parent = task.untrained()
    problem = task.problem(parent)
    seconds, widest = _pass(parent.module, problem.probe(INPUTS))
    passes, batch = found.get("passes"), INPUTS
    if isinstance(problem, FixedInputs):
        search = config.trust_region
        counts: dict[str, int] = {name: problem.split(name).count for name in get_args(SplitName)}
        counts["so far"] = counts["search"]
        passes = sum(children * counts[split] * members for children, split, members in stages(config).values())
        if config.strategy.sigma == "auto":
            passes += len(search.grid) * search.children * frames(search, parent, problem.probe(1).shape[1:])
        batch = len(next(problem.batches(problem.split("search"))))
    members = COPIES * config.selection.size
    side_by_side = lanes(torch.device("cpu"))
    taken = nbytes(parent.module) * (1 + side_by_side + members) + side_by_side * widest * batch
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    own = {"seconds": round(seconds * passes)} if passes else {}
    return {"seconds_a_pass": round(seconds, 6), **own, "gigabytes": round((peak + taken) / GIGABYTE, 2)}


def _downloads_nothing(loaded: Loaded) -> None:
    """Let a dry run fetch no images; ImageNet's are never fetched."""
    config = loaded.config
    if not isinstance(config, ClassificationConfig) or config.problem.data not in {*DATASETS} - {*OWN, "ImageNet"}:
        return
    root, name = data_root(config.data.root, loaded.base), config.problem.data.lower()
    there = [path.name.replace("-", "").lower() for path in root.iterdir()] if root.is_dir() else []
    if not any(name in found for found in there):
        raise ProblemError(f"{root}: found no {config.problem.data}, which a dry run does not download")


def _pass(module: nn.Module, inputs: Tensor) -> tuple[float, int]:
    """Return the seconds that one of the inputs takes, and the bytes of its widest layer, before and after."""
    tried, widest = copy.deepcopy(module).eval().to(memory_format=torch.channels_last), 0

    def look(_: nn.Module, given: tuple[Any, ...], gave: Any) -> None:
        """Note what goes in and out of a layer."""
        nonlocal widest
        widest = max(widest, sum(part.nbytes for part in (*given, gave) if isinstance(part, Tensor)))

    handles = [layer.register_forward_hook(look) for layer in tried.modules()]
    with torch.inference_mode():
        tried(inputs)  # compiles kernels, too
        for handle in handles:
            handle.remove()
        began = time.perf_counter()
        tried(inputs)
    return (time.perf_counter() - began) / len(inputs), widest // len(inputs)
