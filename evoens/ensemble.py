"""The ensemble: some children of one parent, their mean, and the folder that carries them anywhere."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from evoens.combine import combine
from evoens.cut import cut
from evoens.errors import CheckpointError
from evoens.files import write_atomic
from evoens.genome import Genome
from evoens.parent import Architecture, Child, Parent, fingerprint, fuse
from evoens.shrink import shrink
from evoens.spec import Located, load_class, locate
from evoens.strategy import Strategy, grow, tuned_file

FORMAT = 1
MEMBERS = "members"  # the folder of the weights that members were tuned to


class Ensemble:
    """Members of one parent; itself a predictor: by default the mean of the members' probabilities (dissertation 3.24).

    What comes before the first tensor that some member has changed is computed once for all of them.

    Attributes:
        parent: the network the members are rebuilt from.
        strategy: the Strategy that rebuilds them.
        genomes: one a member, in the order in which they were chosen; one that was chosen twice counts twice.
        rule: how the members' probabilities become one (`evoens.combine.RULES`).
        seed: of the rule, which may draw ties.
        device: where the members are; inputs and outputs stay where the caller has them.
    """

    def __init__(
        self,
        parent: Parent,
        strategy: Strategy,
        genomes: Iterable[Genome],
        device: torch.device | str = "cpu",
        *,
        rule: str = "mean",
        seed: int = 0,
    ) -> None:
        self.parent, self.strategy, self.genomes, self.device = parent, strategy, tuple(genomes), torch.device(device)
        self.rule, self.seed = rule, seed
        if not self.genomes:
            raise CheckpointError("an ensemble: expected at least one member, found none")
        different = list(dict.fromkeys(self.genomes))
        self._places = [different.index(genome) for genome in self.genomes]
        grown = [grow(parent, strategy, genome) for genome in different]
        touched = {name for own in grown for name, weight in own.items() if weight is not parent.weights[name]}
        found = cut(parent.module, touched)
        self._trunk = self._placed(found.trunk if found else nn.Identity())
        fuse(self._trunk)
        self._members = [self._member(found.tail if found else parent.module, own) for own in grown]

    def _placed(self, module: nn.Module) -> nn.Module:
        return copy.deepcopy(module).eval().to(self.device).to(memory_format=torch.channels_last)

    def _member(self, module: nn.Module, weights: Mapping[str, Tensor]) -> Child:
        member = Child(self._placed(module))
        own = member.module.state_dict()
        member.load({name: weight for name, weight in weights.items() if name in own})
        member.fuse()
        return member

    def modules(self, shrunk: bool = False) -> list[nn.Module]:
        """Return the members' modules, in order, made anew, since they have gradients; their outputs are logits.

        shrunk: leave out the channels and neurons of which a member has no weights; these modules have no gradients.

        Raises:
            EvoensError: they are to be shrunk, and torch.fx cannot trace the network.
        """
        grown = [self.parent.child(grow(self.parent, self.strategy, genome)).module for genome in self.genomes]
        return [self._placed(shrink(module, {}) if shrunk else module) for module in grown]

    def outputs(self, inputs: Tensor) -> Tensor:
        """Return each member's probabilities, `(k, n, c)`, for inputs `(n, *input)`."""
        with torch.inference_mode():
            shared = self._trunk(inputs.to(self.device))
        parts = shared if isinstance(shared, tuple) else (shared,)
        found = [member.predict(*parts) for member in self._members]
        return torch.stack([found[place] for place in self._places]).to(inputs.device)

    def predict(self, inputs: Tensor) -> Tensor:
        """Return the members' probabilities made one by the rule, `(n, c)`, for inputs `(n, *input)`."""
        return combine(self.outputs(inputs), self.rule, seed=self.seed)

    def save(self, folder: Path, source: Located, arguments: dict[str, Any], about: dict[str, Any]) -> None:
        """Write the ensemble to `folder`: parent.safetensors, genomes.json, a user's own Strategy and network.

        source, arguments: where the Strategy's class came from, and what it was made with.
        about: further facts for genomes.json, such as the problem and its unit.
        """
        folder.mkdir(parents=True, exist_ok=True)
        parent = save({k: v.contiguous() for k, v in self.parent.weights.items()})
        write_atomic(folder / "parent.safetensors", parent)
        if self.parent.tuned is not None:
            self._save_tuned(folder / MEMBERS)
        own_file = Path(source.module).name if isinstance(source.module, Path) else None
        if own_file is not None:
            write_atomic(folder / own_file, Path(source.module).read_bytes())
        spec = f"{own_file}:{type(self.strategy).__name__}" if own_file else source.spec
        document = {
            "format": FORMAT,
            "about": about,
            "architecture": asdict(self._save_network(folder, own_file)),
            "parent": {
                "fingerprint": self.parent.fingerprint,
                "sha256": hashlib.sha256(parent).hexdigest(),
            },
            "strategy": {"spec": spec, "sha256": source.sha256, "arguments": arguments},
            "combine": self.rule,
            "seed": self.seed,
            "tuned": self.parent.tuned is not None,
            "members": [
                {
                    "key": genome.key,
                    "weights_sha256": fingerprint(grow(self.parent, self.strategy, genome)),
                    "genome": genome.to_json(),
                }
                for genome in self.genomes
            ],
        }
        document["sha256"] = description_sha256(document)
        write_atomic(folder / "genomes.json", json.dumps(document, indent=1) + "\n")

    def _save_network(self, folder: Path, taken: str | None) -> Architecture:
        """Copy the file of a user's own network, and return the architecture as it is named beside the copy.

        taken: the name of a file that is there already, which may hold the network too.
        """
        architecture = self.parent.architecture.within(Path())
        if not architecture.own:
            return architecture
        data = Path(self.parent.architecture.source().module).read_bytes()
        place, _, name = architecture.target.rpartition(":")
        if place == taken and (folder / taken).read_bytes() != data:
            place = f"network_{place}"
        write_atomic(folder / place, data)
        return replace(architecture, target=f"{place}:{name}")

    def _save_tuned(self, folder: Path) -> None:
        """Copy the weights that the members were tuned to."""
        assert self.parent.tuned is not None
        folder.mkdir(exist_ok=True)
        for genome in dict.fromkeys(genome for genome in self.genomes if genome.genes):
            write_atomic(tuned_file(folder, genome), tuned_file(self.parent.tuned, genome).read_bytes())


def load_ensemble(path: str | Path) -> Ensemble:
    """Rebuild an ensemble from the folder that `Ensemble.save` wrote (or from a run's folder), every hash checked.

    Raises:
        CheckpointError: a file is missing or damaged, or a member does not come out as the bits that were saved.
        SpecError: the Strategy's class is not there.
    """
    folder = Path(path)
    if not (folder / "genomes.json").is_file() and (folder / "ensemble" / "genomes.json").is_file():
        folder = folder / "ensemble"
    document = read_description(folder)
    try:
        parent = load_parent(folder, document)
        strategy = load_strategy(folder, document)
        genomes = [load_member(folder, row, parent, strategy) for row in document["members"]]
        check_description(folder, document)
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / 'genomes.json'}: not an ensemble's description ({error})") from error
    return Ensemble(parent, strategy, genomes, rule=document["combine"], seed=document.get("seed", 0))


def read_description(folder: Path) -> dict[str, Any]:
    """Return what genomes.json holds; its hashes are not checked yet."""
    path = folder / "genomes.json"
    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise CheckpointError(f"{path}: expected an ensemble's genomes.json, found none ({error.strerror})") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: damaged, it is not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise CheckpointError(f"{path}: expected format {FORMAT}, found {str(document)[:60]}")
    return document


def load_parent(folder: Path, document: dict[str, Any]) -> Parent:
    """Load the parent, its file's hash checked before it is parsed, its fingerprint after."""
    path = folder / "parent.safetensors"
    try:
        data = path.read_bytes()
        _require(path, document["parent"]["sha256"], hashlib.sha256(data).hexdigest(), "the file")
        architecture = Architecture(**document["architecture"]).within(folder)
        parent = Parent.from_weights(architecture, load_file(path))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: expected the parent's weights: {error}") from error
    _require(path, document["parent"]["fingerprint"], parent.fingerprint, "the parent")
    parent.tuned = folder / MEMBERS if document.get("tuned") else None
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
