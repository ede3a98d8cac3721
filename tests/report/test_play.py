"""GIFs that show the game, whole and small; and the right player on the right level."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from evoens.ensemble import Ensemble
from evoens.errors import CheckpointError, ProblemError
from evoens.genome import Gene, Genome
from evoens.parent import Architecture, Parent
from evoens.plugins.spec import locate
from evoens.problem import Split
from evoens.report import gif as module
from evoens.report.gif import LARGEST, LAST_SHOWN, LINE, LONGEST, gif
from evoens.report.play import play
from evoens.settings.procgen import ProcgenSettings
from evoens.tasks.networks.impala import ImpalaPolicy
from evoens.tasks.procgen import ProcgenProblem

Frame = NDArray[np.uint8]
SETTINGS = ProcgenSettings(game="bossfight")  # a game of a few dozen frames


def moving(n: int, side: int = 64) -> list[Frame]:
    """A white square that steps to the right over a blue field, one column a frame."""
    frames = np.zeros((n, side, side, 3), np.uint8)
    frames[..., 2] = 200
    for i, frame in enumerate(frames):
        frame[20:28, i % (side - 8) : i % (side - 8) + 8] = 255
    return list(frames)


def decoded(path: Path) -> list[Frame]:
    with Image.open(path) as image:
        return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]


def durations(path: Path) -> list[int]:
    with Image.open(path) as image:
        return [frame.info["duration"] for frame in ImageSequence.Iterator(image)]


def test_every_frame_comes_back_enlarged(tmp_path: Path) -> None:
    frames = moving(30)
    shown = decoded(gif(frames, tmp_path / "a.gif"))
    assert len(shown) == 30
    for frame, big in zip(frames, shown, strict=True):
        assert big.shape == (256, 256, 3)
        assert np.array_equal(big, frame.repeat(4, axis=0).repeat(4, axis=1))


def test_speed_size_and_the_end(tmp_path: Path) -> None:
    path = gif(moving(10), tmp_path / "a.gif", fps=20, scale=3)
    assert durations(path) == [50] * 9 + [1500]
    with Image.open(path) as image:
        assert image.size == (192, 192)
        assert image.info["loop"] == 0


def test_the_caption_stands_below_the_picture(tmp_path: Path) -> None:
    frames = moving(3)
    shown = decoded(gif(frames, tmp_path / "a.gif", caption="ensemble: return 3\nlevel 7"))[0]
    assert shown.shape == (256 + 2 * LINE, 256, 3)
    assert np.abs(shown[:256:4, ::4].astype(int) - frames[0]).max() < 6  # the letters take their share of the colours
    for line in (shown[256 : 256 + LINE], shown[256 + LINE :]):
        assert line.max() > 200 and np.median(line) == 0


def test_a_long_game_is_shown_whole_and_faster(tmp_path: Path) -> None:
    frames = moving(LONGEST * 3 + 1)
    frames[-1] = np.full_like(frames[-1], 255)
    path = gif(frames, tmp_path / "a.gif")
    shown = decoded(path)
    assert len(shown) == len(range(0, len(frames) - 1, 4)) + 1 <= LONGEST
    assert np.array_equal(shown[1][::4, ::4], frames[4])
    assert (shown[-1] == 255).all()


def test_the_caption_names_the_speed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    captions = []
    made = module._below
    monkeypatch.setattr(module, "_below", lambda h, w, caption: (captions.append(caption), made(h, w, caption))[1])
    gif(moving(LONGEST), tmp_path / "a.gif", caption="x")
    gif(moving(LONGEST + 1), tmp_path / "a.gif", caption="x")
    assert captions == ["x", "x, 2 times as fast"]


def test_frames_that_compress_badly_still_fit(tmp_path: Path) -> None:
    noise = np.random.Generator(np.random.Philox(0)).integers(0, 256, (120, 64, 64, 3), np.uint8)
    path = gif(list(noise), tmp_path / "a.gif")
    assert LARGEST / 4 < path.stat().st_size <= LARGEST


def test_no_frame_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ProblemError, match="at least one frame"):
        gif([], tmp_path / "a.gif")


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ensemble]:
    """A run's folder with an ensemble of two members, strong noise, so that the three players differ."""
    torch.manual_seed(0)
    arguments = {"widths": [4, 4, 4], "in_channels": 6}
    architecture = Architecture("evoens.tasks.networks.impala:ImpalaPolicy", arguments)
    parent = Parent(ImpalaPolicy(**arguments), architecture)
    source, made_with = locate("noisy"), {"sigma": 0.5}
    from evoens_strategies.noisy import Noisy

    made = Ensemble(parent, Noisy(**made_with), [Genome((Gene(seed, 0.5),)) for seed in (1, 2)])
    folder = tmp_path_factory.mktemp("runs") / "bigfish"
    made.save(folder / "ensemble", source, made_with, {"problem": SETTINGS.model_dump(mode="json"), "seed": 5})
    return folder, made


def film_of(players: Ensemble, level: int) -> tuple[list[Frame], float]:
    problem = ProcgenProblem(SETTINGS, players.parent, 5)
    return problem.film(players.predict, Split("test", level - SETTINGS.levels.test.start, 1))


def shows(path: Path, frames: list[Frame]) -> bool:
    """Whether the GIF shows these frames one after another, as far as 128 colours can."""
    shown, lengths = decoded(path), durations(path)
    lengths[-1] -= LAST_SHOWN - 67
    spread = [frame for frame, length in zip(shown, lengths, strict=True) for _ in range(round(length / 67))]
    if len(spread) != len(frames):  # frames that are alike were merged, and last longer
        return False
    return max(np.abs(b[:256:4, ::4].astype(int) - f).mean() for f, b in zip(frames, spread, strict=True)) < 8


def test_the_ensemble_plays_the_first_test_level(ensemble: tuple[Path, Ensemble]) -> None:
    folder, made = ensemble
    path = play(folder)
    assert path == folder / "pictures" / "ensemble-3000000.gif"
    assert shows(path, film_of(made, 3_000_000)[0])
    assert not shows(path, film_of(made, 3_000_001)[0])


def test_parent_and_member_play_the_level_asked_for(ensemble: tuple[Path, Ensemble], tmp_path: Path) -> None:
    folder, made = ensemble
    second = made.genomes[1]
    member = play(folder / "ensemble", level=42, member=second.key[:6], out=tmp_path / "new" / "m.gif")
    parent = play(folder, level=42, member="parent", out=tmp_path / "p.gif")
    assert member == tmp_path / "new" / "m.gif"
    films = [film_of(Ensemble(made.parent, made.strategy, [genome]), 42)[0] for genome in (second, Genome())]
    assert shows(member, films[0]) and shows(parent, films[1])
    assert not shows(member, films[1]) and not shows(parent, films[0])


def test_the_return_is_in_the_caption(ensemble: tuple[Path, Ensemble], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, made = ensemble
    written = {}
    monkeypatch.setattr("evoens.report.play.gif", lambda frames, path, caption: written.update(caption=caption) or path)
    play(folder, level=9)
    assert written["caption"] == f"ensemble of 2: return {film_of(made, 9)[1]:g}\nlevel 9"


def test_who_is_not_there_cannot_play(ensemble: tuple[Path, Ensemble]) -> None:
    folder, made = ensemble
    for member in ("xyz", ""):
        with pytest.raises(CheckpointError, match=made.genomes[0].key[:12]):
            play(folder, member=member)
    with pytest.raises(ProblemError, match="found -1"):
        play(folder, level=-1)


@pytest.mark.parametrize(
    ("about", "message"), [({}, "about.problem"), ({"problem": {"game": "tetris"}, "seed": 0}, "bigfish")]
)
def test_an_ensemble_without_its_problem_is_refused(
    ensemble: tuple[Path, Ensemble], tmp_path: Path, about: dict[str, object], message: str
) -> None:
    ensemble[1].save(tmp_path, locate("noisy"), {"sigma": 0.5}, about)
    with pytest.raises(CheckpointError, match=message):
        play(tmp_path)
