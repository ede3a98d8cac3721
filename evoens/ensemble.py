"""The ensemble: some children of one parent, and their mean."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from evoens.architecture import undisturbed, unset
from evoens.children import TunedWeights, child_weights, touched
from evoens.ensemble_folder import description_sha256, read_ensemble, write_ensemble
from evoens.errors import CheckpointError
from evoens.export.module import ensemble_module, of_bytes
from evoens.genome import Genome
from evoens.graph.cut import Features
from evoens.graph.feature_cache import Kept
from evoens.graph.proof import PROVED, proved_cut, proved_shrunk
from evoens.graph.shrink import shrink
from evoens.known_code import Trust
from evoens.network.inputs import Inputs, each, several, taken, usable
from evoens.network.tensors import alias
from evoens.noise import normals
from evoens.parent import Child, Parent, fuse
from evoens.plugins.spec import Located
from evoens.predictors.base import Members
from evoens.predictors.folder import find_networks, read_networks
from evoens.predictors.networks import Networks
from evoens.storage.json_file import as_written, read_json
from evoens.strategy import Strategy
from evoens.tasks.data.preprocessing import Preprocessing

__all__ = ["Ensemble", "description_sha256", "load_ensemble"]


class Ensemble(Members):
    """Members of one parent; itself a predictor: by default the mean of the members' probabilities (dissertation 3.24).

    What comes before the first tensor that some member has changed is computed once for all of them.

    Attributes:
        parent: the network the members are rebuilt from.
        strategy: the Strategy that rebuilds them.
        genomes: one a member, in the order in which they were chosen; one that was chosen twice counts twice.
        tuned: where the members' weights are, where children were trained.
        kept: has what the members' trunk has made of inputs before, and takes what is new.
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
        temperature: float | None = None,
        preprocessing: Preprocessing | None = None,
        report: Mapping[str, Any] | None = None,
        tuned: TunedWeights | None = None,
        kept: Kept | None = None,
    ) -> None:
        super().__init__(rule, seed, temperature, preprocessing, report)
        self.parent, self.strategy, self.genomes, self.device = parent, strategy, tuple(genomes), usable(device)
        self.tuned, self.kept = tuned, kept or Kept()
        if not self.genomes:
            raise CheckpointError("an ensemble: expected at least one member, found none")
        self._different = list(dict.fromkeys(self.genomes))
        self._places = [self._different.index(genome) for genome in self.genomes]
        self._grown = [self.weights(genome) for genome in self._different]
        self._trunk: nn.Module = nn.Identity()
        self._members: list[Child] = []
        self._asked: Tensor | None = None
        self._shares = False
        self._kind: tuple[Hashable, ...] = ()
        self._making = Lock()

    def weights(self, genome: Genome) -> dict[str, Tensor]:
        """Return the tensors of a child, those that may differ from the parent's, by name."""
        return child_weights(self.parent, self.strategy, genome, self.tuned)

    def _make(self, inputs: Inputs) -> None:
        """Make the members' modules as soon as there are `inputs` on which it can be proved what they may share."""
        with self._making:
            if self._members:
                return
            if isinstance(inputs, Tensor) and len(inputs):
                self._asked = inputs[:PROVED].clone()
            changed = touched(self.parent, self._grown)
            within = self.kept.room and changed <= self.kept.touched
            found = proved_cut(self.parent, self.kept.touched, inputs) if within else None
            self._shares = found is not None
            found = found or proved_cut(self.parent, changed, inputs)
            self._kind = (self._shares or changed, self.tuned is not None, self.parent.layout, self.device)
            if found:
                self._trunk = self._placed(alias(found.trunk))
                if self.parent.layout == torch.channels_last:
                    fuse(self._trunk)
            self._members = [self._member(found.tail if found else self.parent.module, own) for own in self._grown]
            self._grown.clear()

    def _placed(self, module: nn.Module) -> nn.Module:
        return module.eval().to(self.device).to(memory_format=self.parent.layout)

    def _member(self, module: nn.Module, weights: Mapping[str, Tensor]) -> Child:
        member = Child(self._placed(copy.deepcopy(module)))
        member.load(weights)
        if self.parent.layout == torch.channels_last:
            member.fuse()
        return member

    @unset()
    def module(self, *, members: bool = False, raw: bool = False, inputs: Inputs | None = None) -> nn.Module:
        """Return the ensemble as one plain module, made anew: `(n, *input)` to `predict`'s probabilities, calibrated.

        What members share is in it once, and runs once where that can be proved: on images of the run's size, or on
        what was asked before. It may be compiled, exported and trained; its state dict loads into another.

        members: give each member's own probabilities, `(n, k, c)`.
        raw: take bytes `(n, c, h, w)`, uint8, and normalise them within.
        inputs: some that the network takes, to prove it on.

        Raises:
            EvoensError: ties are drawn where members vote; or nothing is known of how bytes reach the network.
        """
        grown, some = [self.weights(genome) for genome in self._different], self._some() if inputs is None else inputs
        rule = None if members else self.rule
        module = ensemble_module(self.parent, grown, self._places, some, rule=rule, temperature=self.temperature)
        return (of_bytes(module, self.preprocessing) if raw else module).to(self.device)

    def modules(self, shrunk: bool = False) -> list[nn.Module]:
        """Return every member's own module, in order; see `member`."""
        return [self.member(genome, shrunk) for genome in self.genomes]

    @unset()
    def member(self, genome: Genome, shrunk: bool = False) -> nn.Module:
        """Return one member's own module, made anew, since it has gradients; its outputs are logits.

        shrunk: leave out the channels and neurons of which it has no weights; such a module has no gradients.

        Raises:
            EvoensError: it is to be shrunk, and torch.fx cannot trace the network, or its outputs are others.
        """
        module = self.parent.child(self.weights(genome)).module
        if shrunk:
            inputs = self._some()  # without any there is nothing to prove it on
            return self._placed(shrink(module, {}) if inputs is None else proved_shrunk(module, inputs))
        for parameter in module.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        return self._placed(module)

    def _some(self) -> Tensor | None:
        """Return inputs to prove something on: those asked before, or noise where the shape of images is known."""
        if self._asked is None and self.preprocessing is not None:
            return normals(self.seed, "shrunk", (PROVED, *self.preprocessing.shape))
        return self._asked

    @unset()
    def outputs(self, inputs: Inputs) -> Tensor:
        """Return each member's probabilities, `(k, n, c)`, for inputs `(n, *input)`.

        Raises:
            ShapeError: the network does not take these inputs.
        """
        self._prepare(inputs)
        with taken(inputs), torch.inference_mode():
            rows = self.kept.rows(inputs)
            features = cache(lambda: self._features(inputs, rows))

            def answers(key: str, member: Child) -> Tensor:
                return self.kept.answers((key, *self._kind), rows, lambda: member.predict(*features()))

            found = [answers(genome.key, own) for genome, own in zip(self._different, self._members, strict=True)]
        return torch.stack([found[place] for place in self._places]).to(several(inputs)[0].device)

    def share(self, inputs: Inputs) -> None:
        """Have what the members share of their work on inputs `(n, *input)` kept, as far as `kept` has room."""
        self._prepare(inputs)
        if self._shares:
            with taken(inputs), torch.inference_mode():
                self._features(inputs, self.kept.rows(inputs))

    def _prepare(self, inputs: Inputs) -> None:
        with taken(inputs):
            if self.preprocessing is not None and isinstance(inputs, Tensor):
                self.preprocessing.check(inputs)
            self._make(self.parent.laid_out(inputs))

    def _features(self, inputs: Inputs, rows: Sequence[Hashable]) -> Features:
        kind = (self.parent.layout, torch.float32, self.device)
        return self.kept.features(kind, rows if self._shares else (), lambda: self._computed(inputs))

    def _computed(self, inputs: Inputs) -> Features:
        shared = self._trunk(self.parent.laid_out(each(inputs, lambda part: part.to(self.device))))
        return shared if isinstance(shared, tuple) else (shared,)

    def save(self, folder: Path, source: Located, arguments: dict[str, Any], about: dict[str, Any]) -> None:
        """Write the ensemble to `folder`: parent.safetensors, genomes.json, a user's own Strategy and network.

        source, arguments: where the Strategy's class came from, and what it was made with.
        about: further facts for genomes.json, such as the problem and its unit.
        """
        answers = {
            "combine": self.rule,
            "seed": self.seed,
            "temperature": self.temperature,
            "preprocessing": self.preprocessing.to_json() if self.preprocessing else None,
        }
        write_ensemble(
            folder,
            self.parent,
            self.strategy,
            self.genomes,
            source=source,
            arguments=arguments,
            about=about,
            answers=answers,
            tuned=self.tuned,
        )


def load_ensemble(path: str | Path, trust: bool = False, model: nn.Module | None = None) -> Ensemble | Networks:
    """Rebuild an ensemble from the folder that `Ensemble.save` wrote, or from a run's or a cell's of a table.

    Every hash is checked. What a table's baseline has trained is `Networks`, which answer as an `Ensemble` does.

    A folder with Python files of its own is code, and loading it runs them. Random states, default device and default
    dtype stay as they are.

    Args:
        path: the folder.
        trust: run files that have changed since they were saved, and import whatever packages the folder names.
        model: the network, where it was given to `evoens.evolve` as a module; whatever weights it has now.

    Raises:
        CheckpointError: a file is missing or damaged, or a member does not come out as the bits that were saved.
        SpecError: code is not there, has changed, or is not of evoens, of torchvision or of the folder.
        ShapeError: the network is not the one that the weights are of.
    """
    trusted, networks = Trust.ALL if trust else Trust.NOTHING, find_networks(Path(path))
    if networks is None:
        return open_ensemble(Path(path), trusted, model)
    with undisturbed():
        return read_networks(networks, trusted)


def open_ensemble(path: Path, trust: Trust, model: nn.Module | None = None) -> Ensemble:
    """Do as `load_ensemble` does, for whoever trusts some of it."""
    with undisturbed():
        parent, strategy, genomes, tuned, document = read_ensemble(path, trust, model)
        shown, report = document.get("preprocessing"), path / "report.json"
        with as_written(path, "an ensemble's description"):
            preprocessing = Preprocessing.from_json(shown) if shown else None
        return Ensemble(
            parent,
            strategy,
            genomes,
            rule=document["combine"],
            seed=document.get("seed", 0),
            temperature=document.get("temperature"),
            preprocessing=preprocessing,
            report=read_json(report, "a run's report") if report.is_file() else None,
            tuned=tuned,
        )
