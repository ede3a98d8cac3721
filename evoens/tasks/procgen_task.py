"""Procgen as a task: a policy trained by PPO, evolved by its return."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evoens.parent import Architecture, Parent
from evoens.progress import OnProgress
from evoens.settings.procgen import ProcgenConfig
from evoens.tasks.networks.impala import ImpalaPolicy
from evoens.tasks.ppo import export_from, load_policy, train_parent
from evoens.tasks.procgen import ProcgenProblem
from evoens.tasks.procgen_tuned import TunedProcgen
from evoens.tasks.task import Task


class ProcgenTask(Task):
    """See `Task`."""

    config: ProcgenConfig

    def __init__(self, config: ProcgenConfig) -> None:
        super().__init__(config)
        self.budget = f"{config.parent.train.steps:,} steps"

    def untrained(self) -> Parent:
        """See `Task.untrained`."""
        policy = ImpalaPolicy(self.config.parent.train.network, 3 * self.config.problem.frame_stack)
        return Parent(policy, Architecture("evoens.tasks.networks.impala:ImpalaPolicy"))

    def load(self, path: Path) -> tuple[Parent, dict[str, Any]]:
        """See `Task.load`."""
        policy, card = load_policy(path)
        return Parent(policy, Architecture(**card["architecture"])), card

    def train(self, folder: Path, on_progress: OnProgress, force: bool = False) -> None:
        """See `Task.train`."""
        config = self.config
        train_parent(config.parent.train, config.problem, config.seed, folder, on_progress=on_progress, force=force)

    def export(self, folder: Path, path: Path, command: str | None = None) -> Path:
        """See `Task.export`."""
        return export_from(folder, path, command)

    def summary(self, card: dict[str, Any]) -> str:
        """See `Task.summary`."""
        return f"{card['steps']:,} steps, return {card['returns']['train']} on its own levels"

    def problem(self, parent: Parent) -> ProcgenProblem:
        """See `Task.problem`."""
        config = self.config
        if config.tune is not None:
            return TunedProcgen(config.problem, parent, config.seed, config.tune)
        return ProcgenProblem(config.problem, parent, config.seed)
