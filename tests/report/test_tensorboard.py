from __future__ import annotations

import io
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import IMAGES, SCALARS, TENSORS, EventAccumulator
from tensorboard.plugin_util import markdown_to_safe_html
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout

from evoens.progress import Generation
from evoens.report.tensorboard import Tracker, markdown

MEASURES = ("kl", "disagreement", "average", "perceptual", "difference", "wavelet", "colour")
PICTURE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
TRUST_REGION = {
    "target_kl": 0.02,
    "sigma": 0.0183,
    "rows": [
        {"sigma": s, "kl": 60 * s * s, "kl_range": (50 * s * s, 70 * s * s), "agreement": 0.91} for s in (0.01, 0.03)
    ],
}


def generation(number: int, best: float = 12.0) -> Generation:
    return Generation(
        generation=number,
        sigma=0.02,
        fitness={"best": best, "mean": 10.0, "worst": 7.5, "parent": 9.0},
        ensemble=11.0,
        reliability=0.4,
        diversity={name: {"value": 0.2 + number, "floor": 0.1} for name in MEASURES},
        failed=1,
        evaluations=17,
        samples_per_second=5000.0,
        seconds=60.0,
        search={"hypervolume": 0.5 + number},
    )


def block(score: float, **more: object) -> dict[str, object]:
    stats = {"score": score, "ci95": [score - 1, score + 1], "n": 100}
    return {"test": stats, "test_difference": stats, **more}


REPORT = {
    "measures": [{"key": "test", "label": "sampled actions", "digits": 2}],
    "parent": block(9.0),
    "best_child": block(9.5),
    "random_children": block(9.25, size=8),
    "ensemble": block(11.25, size=8),
    "unit": "return",
    "unsure": "may be known",
    "verdict": "The ensemble beats the parent.",
    "generations": 2,
}


CHILDREN, ENSEMBLE = "fitness/children and parent", "fitness/ensemble and parent"


def read(folder: Path, line: str = "") -> EventAccumulator:
    return EventAccumulator(str(folder / "tb" / line), {SCALARS: 0, IMAGES: 0, TENSORS: 0}).Reload()


def scalar(log: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in log.Scalars(tag)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    tracker = Tracker(folder)
    tracker.trust_region(TRUST_REGION)
    for number in range(2):
        tracker.generation(generation(number), PICTURE, Figure())
    tracker.results(REPORT)
    tracker.close()
    return folder


@pytest.fixture(scope="module")
def log(folder: Path) -> EventAccumulator:
    return read(folder)


def test_every_number_of_a_generation_is_a_curve(log: EventAccumulator) -> None:
    assert scalar(log, "search/reliability")[0] == (1, pytest.approx(0.4))
    assert scalar(log, "search/hypervolume") == [(1, 0.5), (2, 1.5)]
    assert scalar(log, "speed/samples_per_second")[0] == (1, 5000.0)
    expected = {f"search/{name}" for name in ("sigma", "reliability", "failed", "evaluations", "hypervolume")}
    expected |= {"speed/samples_per_second", "speed/seconds"}
    expected |= {f"results/{name}" for name in ("parent", "best_child", "random_children", "ensemble")}
    expected |= {f"between runs/{name}" for name in ("best", "mean", "worst", "parent", "ensemble")}
    assert set(log.Tags()["scalars"]) == expected


def test_the_first_page_tells_runs_apart_from_the_first_generation_on(tmp_path: Path) -> None:
    """With both in one log directory each is a curve of its own in charts that have no other."""
    for name, best in (("a", 12.0), ("b", 14.0)):
        tracker = Tracker(tmp_path / name)
        tracker.generation(generation(0, best), PICTURE, Figure())
        tracker.close()
        logs = {
            path.name: read(tmp_path / name, path.name) for path in (tmp_path / name / "tb").iterdir() if path.is_dir()
        }
        assert scalar(read(tmp_path / name), "between runs/best") == [(1, best)]
        assert scalar(read(tmp_path / name), "between runs/ensemble") == [(1, 11.0)]
        tags = {tag for log in logs.values() for tag in log.Tags()["scalars"]}
        assert min(tags | set(read(tmp_path / name).Tags()["scalars"])).startswith("between runs/")
        assert not any(tag.startswith("between runs/") for tag in tags)


def test_curves_that_share_a_chart_are_runs_of_their_own(folder: Path) -> None:
    lines = {path.name: read(folder, path.name) for path in (folder / "tb").iterdir() if path.is_dir()}
    found = {name: set(log.Tags()["scalars"]) for name, log in lines.items()}
    measures = {f"diversity/{name}" for name in MEASURES}
    children = {name: {CHILDREN} for name in ("best", "mean", "worst")}
    shared = {"parent": {CHILDREN, ENSEMBLE}, "ensemble": {ENSEMBLE, *measures}, "floor": measures}
    assert found == children | shared
    assert scalar(lines["best"], CHILDREN) == [(1, 12.0), (2, 12.0)]
    assert scalar(lines["ensemble"], ENSEMBLE)[0] == (1, 11.0)
    assert scalar(lines["ensemble"], "diversity/kl")[1] == (2, pytest.approx(1.2))
    assert scalar(lines["floor"], "diversity/kl")[1] == (2, pytest.approx(0.1))


@pytest.mark.parametrize("sigma", [0.02, None])
def test_the_layout_names_only_curves_that_are_there(tmp_path: Path, sigma: float | None) -> None:
    tracker = Tracker(tmp_path, scaled=sigma is not None)
    tracker.generation(replace(generation(0), sigma=sigma), PICTURE, Figure())
    tracker.close()
    tags = {tag for name in ("", "parent", "floor") for tag in read(tmp_path, name).Tags()["scalars"]}
    config = read(tmp_path).Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0]
    charts = [chart for category in Layout.FromString(config).category for chart in category.chart]
    assert len(charts) == (10 if sigma is None else 11)
    for chart in charts:
        for pattern in chart.multiline.tag:
            assert sum(bool(re.match(pattern, tag)) for tag in tags) == 1, pattern


def test_the_picture_comes_back_as_it_was(log: EventAccumulator) -> None:
    events = log.Images("saliency")
    assert [event.step for event in events] == [1, 2]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(events[0].encoded_image_string))), PICTURE)
    assert {"trust region/KL over σ", "lineage"} <= set(log.Tags()["images"])


def text(log: EventAccumulator, tag: str) -> str:
    return str(log.Tensors(f"{tag}/text_summary")[0].tensor_proto.string_val[0], "utf-8")


def test_results_are_a_table_with_the_verdict(log: EventAccumulator) -> None:
    lines = text(log, "results").splitlines()
    assert lines[0] == "return on cases that neither search nor selection saw, but may be known [95 % interval]"
    assert lines[2] == "|  | sampled actions | less the parent's | cases |"
    assert lines[7] == "| ensemble of 8 | 11.25 [10.25, 12.25] | +11.25 [+10.25, +12.25] | 100 |"
    assert lines[-1] == "**The ensemble beats the parent.**"
    assert scalar(log, "results/ensemble") == [(2, 11.25)]


def test_the_search_for_sigma_is_a_table_too(log: EventAccumulator) -> None:
    assert "| 0.01 | 0.0060 | 0.0050 | 0.0070 | 91.0% |" in text(log, "trust region").splitlines()


def test_every_text_is_read_as_it_stands() -> None:
    """As TensorBoard itself makes HTML of it."""
    odd = "<script>alert(1)</script> a|b `c` *d* _e_ [f](http://g) h\\i &amp; # j"
    html = str(markdown_to_safe_html(markdown([odd, "x"], [["y", odd + "\n\x1b[31m"]])))
    assert "<script" not in html and "<a " not in html and "<code" not in html and "<em" not in html
    cells = [unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", html)]
    assert cells == [odd, "x", "y", odd + r" \x1b[31m"]


def test_numbers_that_are_not_known_are_left_out(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path)
    tracker.generation(replace(generation(0), reliability=None, ensemble=None), PICTURE, Figure())
    tracker.close()
    assert "search/reliability" not in read(tmp_path).Tags()["scalars"]
    assert ENSEMBLE not in read(tmp_path, "ensemble").Tags()["scalars"]
    assert read(tmp_path, "best").Tags()["scalars"] == [CHILDREN]


def test_a_resumed_run_hides_what_it_repeats(tmp_path: Path) -> None:
    for first, best in ((0, 12.0), (2, 15.0)):
        tracker = Tracker(tmp_path, first)
        if first == 0:
            tracker.trust_region(TRUST_REGION)
        for number in range(first, first + 3):
            tracker.generation(generation(number, best), PICTURE, Figure())
        tracker.close()
    log = read(tmp_path)
    assert scalar(read(tmp_path, "best"), CHILDREN) == [(1, 12.0), (2, 12.0), (3, 15.0), (4, 15.0), (5, 15.0)]
    assert [event.step for event in log.Images("saliency")] == [1, 2, 3, 4, 5]
    assert "trust region/text_summary" in log.Tags()["tensors"]
