"""Watch a policy play: one case of a run's problem as a GIF."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evoens.ensemble import Ensemble, open_ensemble
from evoens.ensemble_folder import read_description
from evoens.errors import CheckpointError, ProblemError
from evoens.genome import Genome
from evoens.known_code import Trust
from evoens.problem import Split
from evoens.report.gif import gif
from evoens.settings.procgen import ProcgenSettings
from evoens.tasks.procgen import ProcgenProblem


def play(folder: Path, *, level: int | None = None, member: str | None = None, out: Path | None = None) -> Path:
    """Let an ensemble play one level, and write it as a GIF with the return below the picture.

    Args:
        folder: a run's folder, or an ensemble's.
        level: the level's seed; without it, the first of the test split.
        member: who plays in the ensemble's stead: `parent`, or the first characters of a member's key.
        out: the GIF's path; without it, one named after player and level, in `pictures` of the folder.

    Returns:
        The path of the GIF.

    Raises:
        CheckpointError: the folder holds no intact ensemble, or no such member.
        ProblemError: the problem is none that can be watched, or `level` is negative.
    """
    place = folder if (folder / "genomes.json").is_file() else folder / "ensemble"
    about = read_description(place).get("about") or {}
    kind = about.get("problem", {}).get("type", "procgen")
    if kind != "procgen":
        raise ProblemError(f"{folder}: expected a game to watch, found {kind}, in which there is nothing to watch")
    ensemble = open_ensemble(place, Trust.NOTHING)
    problem = _problem(place, about, ensemble)
    name, player = _player(ensemble, member)
    first = problem.settings.levels.test.start
    level = first if level is None else level
    if level < 0:
        raise ProblemError(f"level: expected a level seed ≥ 0, found {level}")
    frames, result = problem.film(player.predict, Split("test", level - first, 1))
    path = out or folder / "pictures" / f"{name.split()[0]}-{level}.gif"
    path.parent.mkdir(parents=True, exist_ok=True)
    return gif(frames, path, caption=f"{name}: return {result:g}\nlevel {level}")


def _problem(place: Path, about: Mapping[str, Any], ensemble: Ensemble) -> ProcgenProblem:
    try:
        return ProcgenProblem(ProcgenSettings.model_validate(about["problem"]), ensemble.parent, about["seed"])
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{place}: expected the settings of a problem under about.problem: {error}") from error


def _player(ensemble: Ensemble, member: str | None) -> tuple[str, Ensemble]:
    if member is None:
        return f"ensemble of {len(ensemble.genomes)}", ensemble
    if member == "parent":
        return member, Ensemble(ensemble.parent, ensemble.strategy, [Genome()])
    found = [genome for genome in ensemble.genomes if genome.key.startswith(member)]
    if len(found) != 1:
        keys = ", ".join(genome.key[:12] for genome in ensemble.genomes)
        raise CheckpointError(f'member: expected "parent" or the start of one of {keys}, found "{member}"')
    return found[0].key[:12], Ensemble(ensemble.parent, ensemble.strategy, found, tuned=ensemble.tuned)
