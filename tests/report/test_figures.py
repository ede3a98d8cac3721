"""The figures: the numbers are drawn where they belong, every axis is named, nothing overlaps, the bytes are stable."""

from __future__ import annotations

import itertools
import random
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from sample_run import generation, population, report, trust_region

from evoens.diversity.measures import MEASURES, Measure, watched
from evoens.report import figures
from evoens.report.lineage import lineage

UNIT = "episode return"
RULES = [("test", "sampled actions"), ("test_greedy", "greedy actions")]
MEMBERS = ["000401"[:4] + "ab" * 30, "010cababab"[:4] + "ab" * 30]


def rows(n: int, scale: float = 1.0) -> list[dict[str, object]]:
    made = [generation(i, random.Random(i)) for i in range(n)]
    for row in made:
        row["fitness"] = {k: v * scale for k, v in row["fitness"].items()}
    return made


def children(n: int) -> list[dict[str, object]]:
    return [row for row in population(n, random.Random(3)) if row["fitness"] is not None]


def candidates() -> list[dict[str, object]]:
    rng = random.Random(4)
    keys = [MEMBERS[0], MEMBERS[1], *(f"k{i}" for i in range(10))]
    return [{"key": key, "search": rng.gauss(1, 0.3), "select": rng.gauss(1, 0.3)} for key in keys]


def steep() -> dict[str, object]:
    rows = [
        {"sigma": s, "kl": 300 * s**3, "kl_range": [1e-6, 400 * s**3], "agreement": 1 - s} for s in (0.002, 0.02, 0.2)
    ]
    return {"target_kl": 0.02, "sigma": 0.04, "rows": rows}


def at_temperatures() -> dict[str, object]:
    found = report(rows(2), MEMBERS, [])
    hot = {f"{who}_tempered": {**found[who], "temperature": 0.35} for who in ("parent", "ensemble")}
    return {**found, **hot}


CURVE = [{"steps": 16384 * i, "return_mean": 1 + i / 50} for i in range(1, 120)]
LESSONS = [{"epoch": i, "loss": 2 / i, "accuracy": 1 - 0.9 / i, "seconds": 1.0} for i in range(1, 41)]
BINS = [
    {"low": 0.0, "high": 0.5, "count": 0, "confidence": None, "accuracy": None},
    {"low": 0.5, "high": 0.75, "count": 30, "confidence": 0.625, "accuracy": 0.5},
    {"low": 0.75, "high": 1.0, "count": 90, "confidence": 1.0, "accuracy": 0.875},
]
SURE = {"as it is": {"parent": BINS, "ensemble": BINS[:2]}, "tempered": {"parent": BINS, "ensemble": BINS}}
DRAWINGS: dict[str, Callable[[], str]] = {
    "forest": lambda: figures.forest(report(rows(2), MEMBERS, []), RULES, UNIT),
    "forest of one rule": lambda: figures.forest(report(rows(2), MEMBERS, []), RULES[:1], "accuracy"),
    "forest with temperatures": lambda: figures.forest(at_temperatures(), RULES, UNIT),
    "evolution of 4": lambda: figures.evolution(rows(4), UNIT),
    "evolution of 60": lambda: figures.evolution(rows(60, 1000), UNIT),
    "diversity of 60": lambda: figures.diversity(rows(60)),
    "reliability": lambda: figures.reliability(SURE),
    "trust region": lambda: figures.svg(figures.trust_region(trust_region())),
    "trust region over decades": lambda: figures.svg(figures.trust_region(steep())),
    "learning": lambda: figures.learning(CURVE, UNIT),
    "learning of 2": lambda: figures.learning(CURVE[:2], UNIT),
    "lessons": lambda: figures.lessons(LESSONS),
    "lessons of 1": lambda: figures.lessons(LESSONS[:1]),
    "population of 1": lambda: figures.svg(lineage(children(1), MEMBERS, 1.08, UNIT)),
    "population of 20": lambda: figures.svg(lineage(children(20), [], None, UNIT)),
    "held out": lambda: figures.held_out(candidates(), MEMBERS, UNIT),
}


@pytest.fixture
def drawn() -> Iterator[list[Figure]]:
    """The figures that were drawn, laid out, before they became text."""
    with caught() as kept:
        yield kept


@contextmanager
def caught() -> Iterator[list[Figure]]:
    kept: list[Figure] = []

    def keep(figure: Figure) -> str:
        FigureCanvasAgg(figure)
        figure.draw_without_rendering()
        kept.append(figure)
        return ""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "svg", keep)
        yield kept


@cache
def drawing(name: str) -> Figure:
    with caught() as kept:
        DRAWINGS[name]()
    return kept[0]


def texts(figure: Figure) -> Iterator[tuple[str, Bbox]]:
    renderer = FigureCanvasAgg(figure).get_renderer()
    for axis in figure.axes:
        if not axis.axison:
            continue
        ticks = [t.label1 for a in (axis.xaxis, axis.yaxis) for t in a.get_major_ticks() if t.label1.get_visible()]
        for text in (axis._left_title, axis.xaxis.label, axis.yaxis.label, *ticks, *axis.texts):
            box = text.get_window_extent(renderer)
            if text.get_text() and _inside_ticks(axis, text, ticks):
                yield text.get_text(), box


def _inside_ticks(axis: object, text: object, ticks: list[object]) -> bool:
    """Ticks beyond the axis's ends are laid out but not drawn."""
    if text not in ticks:
        return True
    x, y = text.get_position()  # type: ignore[attr-defined]
    horizontal = text in [t.label1 for t in axis.xaxis.get_major_ticks()]  # type: ignore[attr-defined]
    low, high = sorted(axis.get_xlim() if horizontal else axis.get_ylim())  # type: ignore[attr-defined]
    return low <= (x if horizontal else y) <= high


@pytest.mark.parametrize("name", DRAWINGS)
def test_nothing_overlaps_or_leaves_the_figure(name: str) -> None:
    figure = drawing(name)
    placed = list(texts(figure))
    assert placed
    for (a, box), (b, other) in itertools.combinations(placed, 2):
        if not name.startswith("trust"):  # a slanted label's box is wider than the label
            overlap = Bbox.intersection(box, other)
            assert overlap is None or overlap.width * overlap.height < 4, (a, b)
    for text, box in placed:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, text


@pytest.mark.parametrize("name", DRAWINGS)
def test_every_axis_is_named_and_no_plot_is_empty(name: str) -> None:
    for axis in drawing(name).axes:
        if axis.axison:
            assert axis._left_title.get_text()
            assert axis.get_xlabel()
            assert any(np.isfinite(line.get_ydata()).any() for line in axis.lines)


@pytest.mark.parametrize("name", DRAWINGS)
def test_the_same_numbers_give_the_same_svg_and_nothing_else_happens(name: str) -> None:
    before = dict(mpl.rcParams)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, again = DRAWINGS[name](), DRAWINGS[name]()
    assert first == again
    assert dict(mpl.rcParams) == before
    ElementTree.fromstring(first)
    assert not re.search(r"dc:date|\b20\d\d-\d\d-\d\d", first)


def test_pyplot_with_its_global_state_is_never_imported() -> None:
    draw = "f.learning([{'steps': 1, 'return_mean': 2}], 'x')"
    code = f"import sys, evoens.report.figures as f; {draw}; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_forest_draws_each_interval_in_its_row(drawn: list[Figure]) -> None:
    document = report(rows(2), MEMBERS, [])
    figures.forest(document, RULES, UNIT)
    scores, differences = drawn[0].axes
    spans = {tuple(line.get_xdata()) for line in scores.lines if len(line.get_xdata()) == 2}
    roles = ("parent", "best_child", "random_children", "ensemble")
    assert spans == {tuple(document[role][key]["ci95"]) for role in roles for key, _ in RULES}
    spans = {tuple(line.get_xdata()) for line in differences.lines if len(line.get_xdata()) == 2} - {(0, 0)}
    expected = {tuple(document[r][f"{k}_difference"]["ci95"]) for r in roles[1:] for k, _ in RULES}
    assert spans == expected
    assert scores.get_ylim()[0] > scores.get_ylim()[1]  # the parent on top


def test_reliability_leaves_empty_bins_out_and_shows_shares_by_area(drawn: list[Figure]) -> None:
    figures.reliability(SURE)
    diagonal, parent, ensemble = drawn[0].axes[0].lines
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata()) == [0, 1]
    assert list(zip(*parent.get_data(), strict=True)) == [(0.625, 0.5), (1.0, 0.875)]
    assert list(zip(*ensemble.get_data(), strict=True)) == [(0.625, 0.5)]
    small, large = drawn[0].axes[0].collections[0].get_sizes()
    assert (large - 4) / (small - 4) == pytest.approx(90 / 30)


def test_one_measure_needs_no_legend(drawn: list[Figure]) -> None:
    for rules in (RULES, RULES[:1]):
        figures.forest(report(rows(2), MEMBERS, []), rules, UNIT)
    assert [len(figure.legends) for figure in drawn] == [1, 0]


def test_evolution_leaves_out_what_was_not_measured(drawn: list[Figure]) -> None:
    made = rows(3)
    figures.evolution(made, UNIT)
    reliability = drawn[0].axes[1].lines[1].get_ydata()
    assert reliability[0] == pytest.approx(-0.1) and np.isnan(reliability[1])
    for row in made:
        row["ensemble"] = None
    figures.evolution(made, UNIT)
    assert [len(figure.axes) for figure in drawn] == [3, 2]


@pytest.mark.parametrize("more", [0, 1])
def test_diversity_draws_value_and_floor_from_zero(
    drawn: list[Figure], more: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = rows(3)
    for name in ["another"][:more]:
        monkeypatch.setitem(MEASURES, name, Measure(name, name, "nats", ""))
        for row in made:
            row["diversity"][name] = row["diversity"]["kl"]  # type: ignore[index]
    figures.diversity(made)
    panels = [axis for axis in drawn[0].axes if axis.get_title(loc="left")]
    assert len(panels) == len(watched()) == 7 + more
    for panel, measure in zip(panels, [measure.name for measure in watched()], strict=True):
        floor, value = (line.get_ydata().tolist() for line in panel.lines)
        assert floor == [row["diversity"][measure]["floor"] for row in made]  # type: ignore[index]
        assert value == [row["diversity"][measure]["value"] for row in made]  # type: ignore[index]
        assert panel.get_ylim()[0] == 0 and panel.get_ylim()[1] > max(value)


def test_diversity_of_nothing_has_an_axis_that_can_be_read(drawn: list[Figure]) -> None:
    made = rows(3)
    for row in made:
        row["diversity"]["disagreement"] = {"value": 0.0, "floor": 0.0}  # type: ignore[index]
    figures.diversity(made)
    assert drawn[0].axes[1].get_ylim() == (0, 1)


def test_lessons_are_loss_and_accuracy_over_epochs(drawn: list[Figure]) -> None:
    figures.lessons(LESSONS)
    for axis, name in zip(drawn[0].axes, ("loss", "accuracy"), strict=True):
        (line,) = axis.lines
        assert line.get_xydata().tolist() == [[row["epoch"], row[name]] for row in LESSONS]


def test_trust_region_marks_target_and_choice(drawn: list[Figure]) -> None:
    search = trust_region()
    figures.svg(figures.trust_region(search))
    left, right = drawn[0].axes
    curve, target, chosen = left.lines
    assert curve.get_ydata().tolist() == [row["kl"] for row in search["rows"]]
    assert set(target.get_ydata()) == {0.02} and set(chosen.get_xdata()) == {0.0183}
    assert right.lines[0].get_ydata().tolist() == [row["agreement"] for row in search["rows"]]


def test_divergences_are_written_without_exponents(drawn: list[Figure]) -> None:
    figures.svg(figures.trust_region(steep()))
    axis = drawn[0].axes[0]
    low, high = axis.get_ylim()
    shown = [t.get_text() for t in axis.get_yticklabels() if low <= t.get_position()[1] <= high]
    decades = ["0.000001", "0.00001", "0.0001", "0.001", "0.01", "0.1", "1", "10"]
    assert len(shown) >= 4 and shown == [text for text in decades if text in shown]


def test_trust_region_bears_a_divergence_of_zero(drawn: list[Figure]) -> None:
    search = trust_region()
    search["rows"][0] |= {"kl": 0.0, "kl_range": [0.0, 0.0]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures.svg(figures.trust_region(search))
    assert drawn[0].axes[0].get_ylim()[0] > 0


def test_held_out_names_the_rank_correlation(drawn: list[Figure]) -> None:
    falling = [{"key": str(i), "search": i, "select": -i} for i in range(5)]
    figures.held_out(falling, ["0"], UNIT)
    assert drawn[0].axes[0]._left_title.get_text().endswith("−1.00")
    equal = [{"key": str(i), "search": 1.0, "select": i} for i in range(5)]
    figures.held_out(equal, [], UNIT)
    assert "equal" in drawn[1].axes[0]._left_title.get_text()


def test_a_dollar_in_a_unit_stays_a_dollar() -> None:
    svg = figures.learning(CURVE, "$\\unknown$")
    assert "<!-- $\\unknown$ -->" in svg
