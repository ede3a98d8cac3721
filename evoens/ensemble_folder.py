"""The folder that carries an ensemble anywhere: written, and read with every hash checked."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save
from typing_extensions import NotRequired, TypedDict

from evoens.errors import CheckpointError
from evoens.files import write_atomic
from evoens.genome import Genome
from evoens.json_file import as_written, read_json
from evoens.parent import Architecture, Parent, fingerprint
from evoens.spec import Located, load_class, locate
from evoens.strategy import Strategy, grow, tuned_file
from evoens.tensor_file import load_tensors

if TYPE_CHECKING:
    from evoens.ensemble import Ensemble

FORMAT = 1
CONTIGUOUS = "contiguous"  # of images, where the network takes no other
MEMBERS = "members"  # the folder of the weights that members were tuned to


class _Description(TypedDict):
    """What of genomes.json is read before its hash is known to be right."""

    format: int
    parent: NotRequired[dict[str, Any]]
    architecture: NotRequired[dict[str, Any]]
    strategy: NotRequired[dict[str, Any]]
    members: NotRequired[list[dict[str, Any]]]


def write_ensemble(
    ensemble: Ensemble, folder: Path, source: Located, arguments: dict[str, Any], about: dict[str, Any]
) -> None:
    """Write what `Ensemble.save` describes."""
    parent = ensemble.parent
    folder.mkdir(parents=True, exist_ok=True)
    weights = save({k: v.contiguous() for k, v in parent.weights.items()})
    write_atomic(folder / "parent.safetensors", weights)
    if parent.tuned is not None:
        _save_tuned(ensemble, folder / MEMBERS)
    own_file = Path(source.module).name if isinstance(source.module, Path) else None
    if own_file is not None:
        write_atomic(folder / own_file, Path(source.module).read_bytes())
    spec = f"{own_file}:{type(ensemble.strategy).__name__}" if own_file else source.spec
    document = {
        "format": FORMAT,
        "about": about,
        "architecture": asdict(_save_network(parent, folder, own_file)),
        "parent": {"fingerprint": parent.fingerprint, "sha256": hashlib.sha256(weights).hexdigest()},
        "strategy": {"spec": spec, "sha256": source.sha256, "arguments": arguments},
        "combine": ensemble.rule,
        "seed": ensemble.seed,
        "temperature": ensemble.temperature,
        "preprocessing": ensemble.preprocessing.to_json() if ensemble.preprocessing else None,
        "tuned": parent.tuned is not None,
        **({"layout": CONTIGUOUS} if parent.layout == torch.contiguous_format else {}),
        "members": [
            {
                "key": genome.key,
                "weights_sha256": fingerprint(grow(parent, ensemble.strategy, genome)),
                "genome": genome.to_json(),
            }
            for genome in ensemble.genomes
        ],
    }
    document["sha256"] = description_sha256(document)
    write_atomic(folder / "genomes.json", json.dumps(document, indent=1) + "\n")


def _save_network(parent: Parent, folder: Path, taken: str | None) -> Architecture:
    """Copy the file of a user's own network, and return the architecture as it is named beside the copy.

    taken: the name of a file that is there already, which may hold the network too.
    """
    architecture = parent.architecture.within(Path())
    if not architecture.own:
        return architecture
    data = Path(parent.architecture.source().module).read_bytes()
    place, _, name = architecture.target.rpartition(":")
    if place == taken and (folder / taken).read_bytes() != data:
        place = f"network_{place}"
    write_atomic(folder / place, data)
    return replace(architecture, target=f"{place}:{name}")


def _save_tuned(ensemble: Ensemble, folder: Path) -> None:
    """Copy the weights that the members were tuned to."""
    assert ensemble.parent.tuned is not None
    folder.mkdir(exist_ok=True)
    for genome in dict.fromkeys(genome for genome in ensemble.genomes if genome.genes):
        write_atomic(tuned_file(folder, genome), tuned_file(ensemble.parent.tuned, genome).read_bytes())


def read_ensemble(folder: Path) -> tuple[Parent, Strategy, list[Genome], dict[str, Any]]:
    """Return parent, Strategy, the members' genomes and the description of an ensemble's or a run's folder.

    Raises:
        CheckpointError, SpecError: as `load_ensemble`.
    """
    if not (folder / "genomes.json").is_file() and (folder / "ensemble" / "genomes.json").is_file():
        folder = folder / "ensemble"
    document = read_description(folder)
    with as_written(folder / "genomes.json", "an ensemble's description"):
        parent = load_parent(folder, document)
        strategy = load_strategy(folder, document)
        genomes = [load_member(folder, row, parent, strategy) for row in document["members"]]
        check_description(folder, document)
    return parent, strategy, genomes, document


def read_description(folder: Path) -> dict[str, Any]:
    """Return what genomes.json holds; its hashes are not checked yet."""
    path = folder / "genomes.json"
    document = read_json(path, "an ensemble's description", _Description)
    if document.get("format") != FORMAT:
        raise CheckpointError(f"{path}: expected format {FORMAT}, found {str(document)[:60]}")
    return document


def load_parent(folder: Path, document: dict[str, Any]) -> Parent:
    """Load the parent, its file's hash checked before it is parsed, its fingerprint after."""
    path = folder / "parent.safetensors"
    try:
        data = path.read_bytes()
        _require(path, document["parent"]["sha256"], hashlib.sha256(data).hexdigest(), "the file")
        architecture = Architecture(**document["architecture"]).within(folder)
        parent = Parent.from_weights(architecture, load_tensors(path))
    except OSError as error:
        raise CheckpointError(f"{path}: expected the parent's weights: {error}") from error
    _require(path, document["parent"]["fingerprint"], parent.fingerprint, "the parent")
    parent.tuned = folder / MEMBERS if document.get("tuned") else None
    if document.get("layout") == CONTIGUOUS:
        parent.layout = torch.contiguous_format
    return parent


def load_strategy(folder: Path, document: dict[str, Any]) -> Strategy:
    """Make the Strategy, its file's hash checked before it is imported."""
    row = document["strategy"]
    source = locate(row["spec"], [folder])
    _require(folder, row["sha256"], source.sha256, f"the Strategy {row['spec']}")
    strategy: Strategy = load_class(source, Strategy)(**row["arguments"])
    return strategy


def load_member(folder: Path, row: dict[str, Any], parent: Parent, strategy: Strategy) -> Genome:
    """Return a member's genome, its key checked, and that it gives the weights it was saved with."""
    genome = Genome.from_json(row["genome"])
    _require(folder, row["key"], genome.key, "a genome's key")
    _require(folder, row["weights_sha256"], fingerprint(grow(parent, strategy, genome)), f"member {genome.key[:12]}")
    return genome


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
