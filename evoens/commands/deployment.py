"""From a run's ensemble to one file: which members it can afford, the temperature of those, and what the file says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evoens.children import touched
from evoens.config.load import RESOLVED, Loaded, load, located
from evoens.ensemble import Ensemble, open_ensemble
from evoens.errors import EvoensError
from evoens.experiment.cost import ensemble_flops
from evoens.experiment.setup import parent_of_run
from evoens.export import file
from evoens.export.usage import usage
from evoens.graph.flops import flops
from evoens.known_code import Trust
from evoens.network.adapt import bare
from evoens.network.inputs import Inputs, several, shape_of
from evoens.network.tensors import first_names
from evoens.noise import normals
from evoens.plugins.guest import guest
from evoens.problem import Problem, drive
from evoens.scoring.calibration import temperature
from evoens.tasks import open_task
from evoens.tasks.data.preprocessing import Normalise
from evoens.tasks.labelled import LabelledProblem

EXAMPLES = 4  # inputs on which a file is proved


def deploy(folder: Path, path: Path, to: str, *, raw: bool, size: int | None, times: float | None) -> dict[str, Any]:
    """Write the ensemble of a finished run as one file, once that has predicted what the ensemble does.

    Args:
        folder: the run's.
        path: of the file.
        to: `onnx`, `pt2` or `safetensors`.
        raw: take bytes, and normalise them within.
        size: so many members, the first that were chosen; None is all.
        times: as many as an answer of so many parents pays for, in operations; None is all.

    Returns:
        JSON: the file's path and bytes, how many members it has, whether these have lost a temperature that only all
        have, the largest difference, from which predictions, and the lines of Python that use it.

    Raises:
        EvoensError: the network cannot be exported, or is another one in the file; nothing is written then.
    """
    loaded = load(folder / RESOLVED, retrain=(folder / "parent").is_dir())
    whole = open_ensemble(folder, Trust.PACKAGES)
    given, inputs = _examples(whole, raw, lambda: _problem(loaded, folder))
    count = size or (len(whole.genomes) if times is None else _paid(whole, shape_of(inputs), times))
    ensemble = _first(whole, count, lambda: _problem(loaded, folder))
    facts = _about(ensemble, given, folder.name, raw)
    calibrated = ensemble.temperature is not None
    if to == "safetensors":
        network, state_dicts = bare(ensemble.parent.architecture.build()), _state_dicts(ensemble)
        expected = ensemble.outputs(inputs)
        far = file.write_safetensors(path, network, *state_dicts, facts, inputs=inputs, expected=expected)
    else:
        write = file.write_onnx if to == "onnx" else file.write_pt2
        module = ensemble.module(raw=raw, inputs=inputs).requires_grad_(False)
        far = write(path, module, given, facts, ensemble.predict(inputs, calibrated))
    return {
        "path": str(path),
        "members": count,
        "bytes": path.stat().st_size,
        "lost": whole.temperature is not None and not calibrated,
        "difference": far,
        "prediction": "calibrated predictions" if calibrated and to != "safetensors" else "predictions",
        "usage": usage(to, path, facts, ensemble.parent.architecture),
    }


def _problem(loaded: Loaded, folder: Path) -> Problem:
    """Open the run's data or game, with its parent."""
    with located(loaded):
        task = open_task(loaded.config, loaded.base)
        return task.problem(task.load(parent_of_run(folder, loaded.config, loaded.base))[0])


def _examples(ensemble: Ensemble, raw: bool, problem: Callable[[], Problem]) -> tuple[Inputs, Inputs]:
    """Return inputs as the file takes them, and the same as the network does."""
    shown = ensemble.preprocessing
    if shown is None:
        some = problem().probe(EXAMPLES)
        return some, some
    pixels = (normals(0, "export", (EXAMPLES, *shown.shape)) * 64 + 128).clamp(0, 255).byte()
    inputs = Normalise(shown.mean, shown.std, torch.contiguous_format)(pixels)
    return (pixels if raw else inputs), inputs


def _paid(ensemble: Ensemble, shape: tuple[int, ...], times: float) -> int:
    """Return how many of the first members answer at the operations of so many parents; at least one does.

    Raises:
        EvoensError: they cannot be counted.
    """
    with guest("--budget: the network's operations cannot be counted", EvoensError):
        most = times * flops(ensemble.parent.module, shape)
    counts = range(1, len(ensemble.genomes) + 1)
    costs = [ensemble_flops(_members(ensemble, count, None), shape) for count in counts]
    return max(count for count, cost in zip(counts, costs, strict=True) if cost is not None and cost <= most)


def _members(ensemble: Ensemble, count: int, fitted: float | None) -> Ensemble:
    """Return the ensemble of the first members, in the order in which they were chosen."""
    return Ensemble(
        ensemble.parent,
        ensemble.strategy,
        ensemble.genomes[:count],
        rule=ensemble.rule,
        seed=ensemble.seed,
        temperature=fitted,
        preprocessing=ensemble.preprocessing,
        tuned=ensemble.tuned,
    )


def _first(whole: Ensemble, count: int, problem: Callable[[], Problem]) -> Ensemble:
    """Return the first members, with a temperature that is fitted to them: that of all is another's."""
    if count == len(whole.genomes):
        return whole
    part = _members(whole, count, None)
    posed = None if whole.temperature is None else problem()
    if not isinstance(posed, LabelledProblem):
        return part  # a policy's would have to be played for
    select = posed.split("select")
    outputs = drive(posed.answers(select), part.predict)
    return _members(whole, count, temperature(outputs, posed.part(select).labels))


def _state_dicts(ensemble: Ensemble) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
    """Return what of a whole state dict is the same in all members, and the rest of each different one."""
    parent = ensemble.parent
    grown = [ensemble.weights(genome) for genome in dict.fromkeys(ensemble.genomes)]
    changed, firsts = touched(parent, grown), first_names(parent.module)
    shared = {name: parent.weights[first] for name, first in firsts.items() if first not in changed}
    own = {name: first for name, first in firsts.items() if first in changed}
    return shared, [{n: weights.get(first, parent.weights[first]) for n, first in own.items()} for weights in grown]


def _about(ensemble: Ensemble, given: Inputs, name: str, raw: bool) -> dict[str, Any]:
    """Return a file's metadata."""
    different, shown = list(dict.fromkeys(ensemble.genomes)), ensemble.preprocessing
    return {
        "name": name,
        "classes": ensemble.classes,
        "temperature": ensemble.temperature,
        "combine": ensemble.rule,
        "members": len(ensemble.genomes),
        "order": [different.index(genome) for genome in ensemble.genomes],
        "inputs": dict(zip(file.names_of(given), map(_kind, several(given)), strict=True)),
        "raw": raw,
        "normalise": {"mean": shown.mean, "std": shown.std} if shown else None,
        "evoens": version("evoens"),
    }


def _kind(part: Tensor) -> Mapping[str, Any]:
    return {"shape": list(part.shape[1:]), "dtype": str(part.dtype).removeprefix("torch.")}
