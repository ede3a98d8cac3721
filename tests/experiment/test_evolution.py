"""A generation goes on where its members cannot be looked at."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_run import FrameNet, TinyFrames, config, execute
from torch import Tensor

from evoens.errors import EvoensError
from evoens.parent import Architecture, Parent


class Levels(FrameNet):
    """Knows frames by whole grey levels, as an embedding does: it has no gradient by them."""

    def forward(self, frames: Tensor) -> Tensor:
        return super().forward(frames.detach().round())


class Keeps(FrameNet):
    """Keeps what it has computed, with all that it was computed from."""

    def forward(self, frames: Tensor) -> Tensor:
        self.latest = super().forward(frames)
        return self.latest


def problem_of(kind: type[FrameNet]) -> TinyFrames:
    problem = TinyFrames()
    architecture = Architecture(f"{__name__}:{kind.__name__}")
    problem.parent = Parent.from_weights(architecture, problem.parent.weights)
    return problem


@pytest.mark.usefixtures("one_thread")
def test_without_a_gradient_the_picture_is_left_out_and_the_run_says_so_once(tmp_path: Path) -> None:
    _, listener = execute(tmp_path, config(search={"generations": 1}), problem=problem_of(Levels))
    told = [text for text in listener.warnings if "looks at" in text or "look at" in text]
    assert len(told) == 1 and "has no gradient by its inputs" in told[0]
    assert not (tmp_path / "pictures" / "saliency.png").exists()
    page = (tmp_path / "report.html").read_text()
    assert "The network has no gradient by its inputs" in page
    rows = json.loads((tmp_path / "history.json").read_text())["generations"]
    assert [set(row["diversity"]) for row in rows] == [{"kl", "disagreement"}]


@pytest.mark.usefixtures("one_thread")
def test_what_a_network_keeps_of_being_looked_at_does_not_end_the_run(tmp_path: Path) -> None:
    """A tensor with its history cannot be copied, and every child is a copy of the parent."""
    execute(tmp_path, config(search={"generations": 1}), problem=problem_of(Keeps))
    assert (tmp_path / "pictures" / "saliency.png").exists()


def test_a_distance_by_what_members_look_at_is_refused_before_any_work(tmp_path: Path) -> None:
    settings = config(search={"diversity": 0.5, "diversity_by": "wavelet"})
    with pytest.raises(
        EvoensError, match=r"search\.diversity_by: expected one of kl.* found wavelet: the network has no"
    ):
        execute(tmp_path, settings, problem=problem_of(Levels))
    assert not (tmp_path / "population.jsonl").exists()
