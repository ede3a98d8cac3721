"""The folder that carries an ensemble anywhere: written, and read with every hash checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from safetensors.torch import save
from torch import Tensor, nn
from typing_extensions import NotRequired, TypedDict

from evoens.architecture import Architecture, GivenModule
from evoens.children import TunedWeights, child_weights
from evoens.errors import LONGEST, CheckpointError
from evoens.genome import Genome
from evoens.known_code import Trust, known_architecture, known_strategy
from evoens.parent import Parent, fingerprint
from evoens.plugins.own_code import Code
from evoens.plugins.spec import Located, load_class
from evoens.scoring.combine import RULES
from evoens.storage.files import write_atomic
from evoens.storage.json_file import as_written, read_json
from evoens.storage.tensor_file import parse_tensors
from evoens.strategy import Strategy

FORMAT = 1
GENOMES = "genomes.json"
WITHIN = ("ensemble", "run/ensemble")  # where a run's folder, or a table's, has it
CONTIGUOUS = "contiguous"  # of images, where the network takes no other
PARENT = "parent.safetensors"
MEMBERS = "members"  # the folder of the weights that members were tuned to
NETWORK = "network"  # the folder of a network's files, where the Strategy has others of these names


_Name = Annotated[str, Field(max_length=LONGEST)]


class _Strategy(TypedDict):
    spec: NotRequired[_Name]
    helpers: NotRequired[dict[_Name, str]]


class _Network(TypedDict):
    target: NotRequired[_Name]
    helpers: NotRequired[dict[_Name, str]]


class _Description(TypedDict):
    """What of genomes.json is read before its hash is known to be right."""

    format: int
    parent: NotRequired[dict[str, Any]]
    architecture: NotRequired[_Network]
    strategy: NotRequired[_Strategy]
    members: NotRequired[list[dict[str, Any]]]
    combine: NotRequired[str]
    seed: NotRequired[int]
    temperature: NotRequired[Annotated[float, Field(gt=0, allow_inf_nan=False)] | None]
    preprocessing: NotRequired[dict[str, Any] | None]


def write_ensemble(
    folder: Path,
    parent: Parent,
    strategy: Strategy,
    genomes: Sequence[Genome],
    *,
    source: Located,
    arguments: dict[str, Any],
    about: dict[str, Any],
    answers: dict[str, Any],
    tuned: TunedWeights | None = None,
) -> None:
    """Write what `Ensemble.save` describes; `answers` says how members become one predictor."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = save({k: v.contiguous() for k, v in parent.weights.items()})
    write_atomic(folder / PARENT, weights)
    if tuned is not None:
        _save_tuned(tuned, genomes, TunedWeights(folder / MEMBERS))
    architecture = save_code(parent.architecture, source.code, folder)
    spec = f"{source.code.main}:{type(strategy).__name__}" if source.code else source.spec
    helpers = {"helpers": source.code.helpers} if source.code and source.code.helpers else {}
    document = {
        "format": FORMAT,
        "about": about,
        "architecture": architecture.to_json(),
        "parent": {"fingerprint": parent.fingerprint, "sha256": hashlib.sha256(weights).hexdigest()},
        "strategy": {
            "spec": spec,
            "sha256": source.sha256,
            **helpers,
            "arguments": arguments,
            "scope": list(strategy.scope),
        },
        **answers,
        "tuned": tuned is not None,
        **({"layout": CONTIGUOUS} if parent.layout == torch.contiguous_format else {}),
        "members": [
            {
                "key": genome.key,
                "weights_sha256": fingerprint(child_weights(parent, strategy, genome, tuned)),
                "genome": genome.to_json(),
            }
            for genome in genomes
        ],
    }
    document["sha256"] = description_sha256(document)
    write_atomic(folder / "genomes.json", json.dumps(document, indent=1) + "\n")


def save_code(architecture: Architecture, strategy: Code | None, folder: Path) -> Architecture:
    """Write the files of a user's own Strategy and network, and return the architecture as it is named there.

    Where both have a file of one name, and not the same, the network's come into a folder of their own.
    """
    files = dict(strategy.files) if strategy else {}
    if architecture.own:
        source = architecture.source()
        assert source.code is not None
        same = all(files.get(name, data) == data for name, data in source.code.files.items())
        place = "" if same else f"{NETWORK}/"
        files |= {f"{place}{name}": data for name, data in source.code.files.items()}
        architecture = replace(architecture, target=f"{place}{source.code.main}:{source.name}")
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / name, data)
    return architecture


def _save_tuned(tuned: TunedWeights, genomes: Sequence[Genome], to: TunedWeights) -> None:
    """Copy the weights that the members were tuned to."""
    to.folder.mkdir(exist_ok=True)
    for genome in dict.fromkeys(genome for genome in genomes if genome.genes):
        write_atomic(to.file(genome), tuned.file(genome).read_bytes())


def read_ensemble(
    folder: Path, trust: Trust, model: nn.Module | None = None
) -> tuple[Parent, Strategy, list[Genome], TunedWeights | None, dict[str, Any]]:
    """Return parent, Strategy, members' genomes, trained weights and description of an ensemble's or a run's folder.

    model: the network, in the stead of what the folder names.

    Raises:
        CheckpointError, SpecError: as `load_ensemble`.
    """
    folder = next((own for own in (folder, *(folder / place for place in WITHIN)) if (own / GENOMES).is_file()), folder)
    document = read_description(folder)
    with as_written(folder / "genomes.json", "an ensemble's description"):
        parent = load_parent(folder, document, trust, model)
        strategy = load_strategy(folder, document, parent, trust)
        genomes = [load_member(folder, row, parent, strategy, trained(folder, document)) for row in document["members"]]
        check_description(folder, document)
    return parent, strategy, genomes, trained(folder, document), document


def read_description(folder: Path) -> dict[str, Any]:
    """Return what genomes.json holds; its hashes are not checked yet."""
    path = folder / "genomes.json"
    document = read_json(path, "an ensemble's description", _Description)
    if document.get("format") != FORMAT:
        raise CheckpointError(f"{path}: expected format {FORMAT}, found {str(document)[:60]}")
    if (rule := document.get("combine")) not in RULES:
        raise CheckpointError(f"{path}: combine: expected one of {', '.join(RULES)}, found {str(rule)[:60]}")
    return document


def load_parent(folder: Path, document: dict[str, Any], trust: Trust, model: nn.Module | None = None) -> Parent:
    """Load the parent: its file is checked before it is parsed, and its network's shapes before memory is taken."""
    weights = load_weights(folder, document)
    architecture = known_architecture(folder, document, trust) if model is None else GivenModule.of_module(model)
    architecture.require_shapes({name: tuple(value.shape) for name, value in weights.items()})
    parent = Parent.from_weights(architecture, weights)
    _require(folder / PARENT, document["parent"]["fingerprint"], parent.fingerprint, "the parent")
    if document.get("layout") == CONTIGUOUS:
        parent.layout = torch.contiguous_format
    return parent


def load_weights(folder: Path, document: dict[str, Any]) -> dict[str, Tensor]:
    """Return the parent's tensors, checked as they can be without its network."""
    path = folder / PARENT
    try:
        data = path.read_bytes()
        _require(path, document["parent"]["sha256"], hashlib.sha256(data).hexdigest(), "the file")
        weights = parse_tensors(data, path)
    except OSError as error:
        raise CheckpointError(f"{path}: expected the parent's weights: {error}") from error
    _require(path, document["parent"]["fingerprint"], fingerprint(weights), "the parent")
    return weights


def load_strategy(folder: Path, document: dict[str, Any], parent: Parent | None, trust: Trust) -> Strategy:
    """Make the Strategy, its files' hashes checked before any is imported."""
    row = document["strategy"]
    strategy: Strategy = load_class(known_strategy(folder, document, trust), Strategy)(**row["arguments"])
    return strategy.within(parent=parent, scope=tuple(row.get("scope", ())))


def trained(folder: Path, document: dict[str, Any]) -> TunedWeights | None:
    """Return where the weights of trained members are; None where they are rebuilt from the parent."""
    return TunedWeights(folder / MEMBERS) if document.get("tuned") else None


def load_member(
    folder: Path, row: dict[str, Any], parent: Parent, strategy: Strategy, tuned: TunedWeights | None
) -> Genome:
    """Return a member's genome, its key checked, and that it gives the weights it was saved with."""
    genome = load_genome(folder, row, tuned=False)
    _require_weights(folder, row, genome, child_weights(parent, strategy, genome, tuned))
    return genome


def load_genome(folder: Path, row: dict[str, Any], tuned: bool) -> Genome:
    """Return a member's genome, its key checked, and the weights it was tuned to: what can be without rebuilding it."""
    genome = Genome.from_json(row["genome"])
    _require(folder, row["key"], genome.key, "a genome's key")
    if tuned and genome.genes:
        _require_weights(folder, row, genome, TunedWeights(folder / MEMBERS).load(genome))
    return genome


def _require_weights(folder: Path, row: dict[str, Any], genome: Genome, weights: dict[str, Tensor]) -> None:
    _require(folder, row["weights_sha256"], fingerprint(weights), f"member {genome.key[:12]}")


def check_description(folder: Path, document: dict[str, Any]) -> None:
    """Check genomes.json as a whole, for what no other hash covers."""
    _require(folder / "genomes.json", str(document.get("sha256")), description_sha256(document), "the description")


def description_sha256(document: dict[str, Any]) -> str:
    """Return the sha256 of a description as canonical JSON, its own `sha256` left out."""
    plain = json.loads(json.dumps(document))
    plain.pop("sha256", None)
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _require(place: Path, expected: str, found: str, what: str) -> None:
    if expected != found:
        raise CheckpointError(f"{place}: {what} has changed: expected sha256 {expected[:16]}…, found {found[:16]}…")
