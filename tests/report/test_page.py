"""The page of a run: whole, closed to the outside, true to the numbers, and honest about what is missing."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from sample_run import MEASURES, write_run

from evoens.errors import CheckpointError
from evoens.report import figures
from evoens.report.page import write_report

SECTIONS = (
    *("result", "play", "generations", "diversity", "saliency", "population"),
    *("sigma", "parent", "cost", "next", "settings"),
)
VOID = {"meta", "img", "br", "link", "input"}
NUMBER = re.compile(r"[+−]?\d+\.\d+")


class Page(HTMLParser):
    """What a browser would find: tags must close in order, and text is told from markup."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.rows: list[list[str]] = []
        self.text = self.style = ""
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            self.style += data
        else:
            data = data.replace("\u00a0", " ")
            self.text += data
            if {"td", "th"} & set(self.open):
                self.rows[-1][-1] += data

    def attributes(self, tag: str, name: str) -> list[str]:
        return [attrs[name] for found, attrs in self.tags if found == tag and name in attrs]

    def row(self, start: str) -> list[str]:
        return next(row for row in self.rows if row[0].startswith(start))


def page(folder: Path) -> Page:
    return Page(write_report(folder).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], Page]:
    folder = tmp_path_factory.mktemp("runs") / "bigfish"
    report = write_run(folder)
    return folder, report, page(folder)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the figures empty, where a test is about words, and save their time."""
    monkeypatch.setattr(figures, "svg", lambda figure: "<svg/>")


def images(found: Page, kind: str) -> list[bytes]:
    start = f"data:image/{kind};base64,"
    return [base64.b64decode(s[len(start) :]) for s in found.attributes("img", "src") if s.startswith(start)]


def numbers(cell: str) -> list[float]:
    return [float(n.replace("−", "-")) for n in NUMBER.findall(cell)]


def test_every_section_is_there_once_and_linked(finished: tuple[Path, dict[str, Any], Page]) -> None:
    found = finished[2]
    assert tuple(found.attributes("section", "id")) == (*SECTIONS, "glossary")
    links = [attrs["href"] for tag, attrs in found.tags if tag == "a" and attrs.get("class") != "term"]
    assert tuple(links) == (*(f"#{name}" for name in SECTIONS), "#glossary")


def test_every_linked_term_is_explained_on_the_page(finished: tuple[Path, dict[str, Any], Page]) -> None:
    found = finished[2]
    links = {attrs["href"] for tag, attrs in found.tags if tag == "a" and attrs.get("class") == "term"}
    explained = [f"#{anchor}" for anchor in found.attributes("dt", "id")]
    assert set(explained) == links and len(explained) == len(links) > 10
    assert {"#term-reliability", "#term-null-floor", "#term-σ"} <= links


def test_nothing_leaves_the_file(finished: tuple[Path, dict[str, Any], Page]) -> None:
    found = finished[2]
    assert not {"script", "link", "iframe", "object", "embed"} & {tag for tag, _ in found.tags}
    for _, attrs in found.tags:
        for name, value in attrs.items():
            assert "://" not in value, (name, value[:80])
            assert name not in ("src", "srcset", "data") or value.startswith("data:image/")
    assert "url(" not in found.style and "@import" not in found.style
    for svg in images(found, "svg+xml"):
        for element in ElementTree.fromstring(svg).iter():
            assert element.tag.rpartition("}")[2] not in ("script", "image", "foreignObject")
            assert all(v.startswith("#") for k, v in element.attrib.items() if k.endswith("href"))


def test_every_picture_has_words(finished: tuple[Path, dict[str, Any], Page]) -> None:
    found = finished[2]
    assert all(len(words) > 10 for words in found.attributes("img", "alt"))
    assert len(found.attributes("img", "alt")) == len(found.attributes("img", "src")) == 10


def test_the_table_holds_the_report_s_numbers(finished: tuple[Path, dict[str, Any], Page]) -> None:
    _, report, found = finished
    names = {"parent": "Parent", "best_child": "Best", "random_children": "8 random", "ensemble": "Ensemble of 8"}
    for role, name in names.items():
        _, cases, *cells = found.row(name)
        assert int(cases) == report[role]["test"]["n"]
        keys = ("test", "test_difference", "test_greedy", "test_greedy_difference")
        for cell, key in zip(cells, keys, strict=True):
            if role == "parent" and key.endswith("difference"):
                assert cell == ""
            else:
                stats = report[role][key]
                assert numbers(cell) == pytest.approx([stats["score"], *stats["ci95"]], abs=0.00501)


def test_the_verdict_and_the_facts_stand_on_the_page(finished: tuple[Path, dict[str, Any], Page]) -> None:
    _, report, found = finished
    assert report["verdict"] in found.text
    assert report["warnings"][0] in found.text
    assert "σ of the curve nearest to that is 0.0183" in found.text
    assert found.row("Evaluations")[1] == "73"
    assert found.row("Time")[1] == "10 min"
    assert found.row("Artifact")[1] == "2.51 MB"
    assert found.row("torch")[1] == "2.15.0"
    assert "Children measured: 64; failed: 1." in found.text
    assert "+0.43" in found.text
    assert "3,260,416 environment steps" in found.text
    assert "not finished" not in found.text


def test_members_are_listed_with_their_scores(finished: tuple[Path, dict[str, Any], Page]) -> None:
    folder, report, found = finished
    rows = [json.loads(line) for line in (folder / "population.jsonl").read_text().splitlines()]
    for key in report["ensemble"]["members"]:
        child = next(row for row in rows if row["key"] == key)
        select = next(row["select"] for row in report["candidates"] if row["key"] == key)
        _, generation, search_cell, select_cell = found.row(key[:12])
        assert int(generation) == child["generation"] + 1  # people count from 1
        assert numbers(search_cell + " " + select_cell) == pytest.approx([child["fitness"], select], abs=0.00501)


@pytest.mark.usefixtures("undrawn")
def test_members_that_were_measured_alone_stand_with_their_figures(tmp_path: Path) -> None:
    report = write_run(tmp_path / "run")
    first, second = report["ensemble"]["members"][:2]
    alone = [{"key": first, "test": 2.2, "test_greedy": 1.5}, {"key": second, "test": 2.4, "test_greedy": 1.25}]
    (tmp_path / "run" / "report.json").write_text(
        json.dumps(report | {"ensemble": report["ensemble"] | {"alone": alone}})
    )
    found = page(tmp_path / "run")
    assert found.row(first[:12])[-2:] == ["2.20", "1.50"] and found.row(second[:12])[-2:] == ["2.40", "1.25"]
    assert found.row(report["ensemble"]["members"][2][:12])[-2:] == ["–", "–"]  # such as the parent, where it votes
    assert "reaches 2.30 on average, the best of them there 2.40" in found.text  # the ensemble: 2.452
    assert "less that of this best one is +0.05 (episode return)" in found.text


def test_pictures_are_the_run_s_own(finished: tuple[Path, dict[str, Any], Page]) -> None:
    folder, _, found = finished
    pictures = folder / "pictures"
    assert images(found, "png") == [(pictures / "saliency.png").read_bytes()]
    assert images(found, "gif") == [(pictures / f"{who}.gif").read_bytes() for who in ("parent", "ensemble")]


def test_the_same_files_give_the_same_bytes(finished: tuple[Path, dict[str, Any], Page]) -> None:
    folder = finished[0]
    before = (folder / "report.html").read_bytes()
    assert write_report(folder).read_bytes() == before


@pytest.mark.usefixtures("undrawn")
def test_texts_from_the_run_are_escaped(tmp_path: Path) -> None:
    attack = "<script>alert('x')</script> & \"</pre>"
    write_run(tmp_path / "run", name=attack, warnings=[attack], verdict=attack, versions={attack: attack})
    (tmp_path / "run" / "config.resolved.yaml").write_text(f"name: {attack}\n")
    found = page(tmp_path / "run")
    assert "script" not in {tag for tag, _ in found.tags}
    assert found.text.count(attack) == 7  # title, heading, verdict, warning, version (2), configuration


@pytest.mark.usefixtures("undrawn")
def test_a_measure_has_its_own_decimals(tmp_path: Path) -> None:
    write_run(tmp_path / "run", measures=[{**measure, "digits": 4} for measure in MEASURES])
    found = page(tmp_path / "run")
    assert found.row("Parent")[2] == "2.0840 [1.7740, 2.3940]"


@pytest.mark.parametrize(("score", "shown"), [(0.0, "0.00"), (-0.0049, "0.00"), (0.005001, "+0.01"), (-1.2, "−1.20")])
@pytest.mark.usefixtures("undrawn")
def test_zero_has_no_sign(tmp_path: Path, score: float, shown: str) -> None:
    report = write_run(tmp_path / "run")
    report["best_child"]["test_difference"]["score"] = score
    (tmp_path / "run" / "report.json").write_text(json.dumps(report))
    assert page(tmp_path / "run").row("Best")[3].split(" ")[0] == shown


@pytest.mark.usefixtures("undrawn")
def test_a_problem_with_one_rule_has_one_pair_of_columns(tmp_path: Path) -> None:
    report = write_run(tmp_path / "run", measures=MEASURES[:1])
    for role in ("parent", "best_child", "random_children", "ensemble"):
        del report[role]["test_greedy"], report[role]["test_greedy_difference"]
    (tmp_path / "run" / "report.json").write_text(json.dumps(report))
    found = page(tmp_path / "run")
    assert found.row("Best")[2:] == ["2.14 [1.83, 2.45]", "+0.06 [−0.15, +0.27]"]


@pytest.mark.usefixtures("undrawn")
def test_one_generation_is_a_table_not_a_curve(tmp_path: Path) -> None:
    write_run(tmp_path / "run", generations=1)
    found = page(tmp_path / "run")
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert "no curve to draw" in found.text
    value = history["generations"][0]["diversity"]["colour"]["value"]
    assert numbers(found.row("Colour hash")[1]) == pytest.approx([value], rel=0.005)
    assert len(images(found, "svg+xml")) == 5  # intervals, candidates, population, σ, learning


@pytest.mark.usefixtures("undrawn")
def test_a_run_still_going_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write_run(folder, generations=2)
    (folder / "report.json").unlink()
    for film in (folder / "pictures").glob("*.gif"):
        film.unlink()
    found = page(folder)
    assert "not finished (2 generations done)" in found.text
    assert "Members have not been chosen yet." in found.text
    assert "python -m evoens resume" in found.text and "evoens play" not in found.text
    assert set(found.attributes("section", "id")) == {*SECTIONS, "glossary"} - {"play"}


@pytest.mark.usefixtures("undrawn")
def test_a_run_just_begun_has_a_page_too(tmp_path: Path) -> None:
    (tmp_path / "config.resolved.yaml").write_text("name: x\n")
    found = page(tmp_path)
    assert "no generation done yet" in found.text
    assert found.attributes("img", "src") == []
    assert found.text.count("Not measured yet") == 7


@pytest.mark.usefixtures("undrawn")
def test_a_fixed_sigma_is_said_to_be_fixed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write_run(folder)
    history = json.loads((folder / "history.json").read_text()) | {"trust_region": None}
    (folder / "history.json").write_text(json.dumps(history))
    assert "The configuration fixes σ" in page(folder).text
    history["generations"] = [{**row, "sigma": None} for row in history["generations"]]
    (folder / "history.json").write_text(json.dumps(history))
    assert "no scale, so there is no σ" in page(folder).text


@pytest.mark.usefixtures("undrawn")
def test_missing_parts_are_explained(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write_run(folder, parent_card={"steps": 10, "curve": []}, candidates=[])
    for picture in (folder / "pictures").iterdir():
        picture.unlink()
    found = page(folder)
    assert "holds no learning curve" in found.text
    assert "play" not in found.attributes("section", "id") and "evoens play" not in found.text
    assert len(images(found, "svg+xml")) == 5  # intervals, evolution, diversity, population, σ


@pytest.mark.usefixtures("undrawn")
def test_a_measure_of_fewer_cases_says_so_and_keeps_its_name(tmp_path: Path) -> None:
    corrupted = {**MEASURES[1], "key": "test_greedy", "label": "cNLL", "unit": "NLL when corrupted, nats"}
    report = write_run(tmp_path / "run", measures=[MEASURES[0], corrupted])
    for role in ("parent", "best_child", "random_children", "ensemble"):
        report[role]["test_greedy"]["n"] = 50
    (tmp_path / "run" / "report.json").write_text(json.dumps(report))
    found = page(tmp_path / "run")
    assert [row[1] for row in found.rows if row[0] == "Parent"] == ["100", "50"]
    assert ["", "Cases", "cNLL", "less the parent’s"] in found.rows


@pytest.mark.usefixtures("undrawn")
def test_a_classifier_is_told_of_in_its_own_words(tmp_path: Path) -> None:
    curve = [{"epoch": i, "loss": 1 / i, "accuracy": 0.9, "seconds": 1.0} for i in (1, 2, 3)]
    card = {"epochs": 3, "seed": 4, "seconds": 7000.0, "command": "python -m evoens train-parent x", "curve": curve}
    splits = {name: {"from": "test", "count": 1500} for name in ("search", "select", "test")}
    write_run(tmp_path / "run", parent_card=card, splits=splits)
    found = page(tmp_path / "run")
    assert "3 epochs, seed 4, 1 h 57 min of training." in found.text and card["command"] in found.text
    assert "Loss and accuracy on what the parent learns from, over epochs." in found.attributes("img", "alt")
    assert found.row("select")[1] == "1,500 images from test"


def at_temperatures(report: dict[str, Any]) -> dict[str, Any]:
    """A report with a parent and an ensemble at a temperature, measured until the difference was known."""
    tempered = {f"{who}_tempered": {**report[who], "temperature": 0.5} for who in ("parent", "ensemble")}
    row = {"score": 2.5, "difference": 0.75, "standard_error": 0.5}
    tried = [{**row, "temperature": 1.0, "difference": 0.0, "standard_error": 0.0}, {**row, "temperature": 0.5}]
    details = {
        "temperature": {"parent": 0.5, "ensemble": 0.5},
        "action_temperatures": dict.fromkeys(("parent", "ensemble"), tried),
    }
    stopping = {"measured": 300, "of": 400, "block": 100, "half_width": 1.234, "precision": 1.5, "reason": "precision"}
    return {**report, **tempered, "details": details, "stopping": stopping}


def test_a_temperature_has_rows_of_its_own(tmp_path: Path) -> None:
    report = at_temperatures(write_run(tmp_path / "run"))
    (tmp_path / "run" / "report.json").write_text(json.dumps(report))
    found = page(tmp_path / "run")
    for name, who in (("Parent, T = 0.5", "parent_tempered"), ("Ensemble of 8, T = 0.5", "ensemble_tempered")):
        assert numbers(found.row(name)[3])[0] == pytest.approx(report[who]["test_difference"]["score"], abs=0.00501)
    assert found.row("T = 0.5") == ["T = 0.5", *["2.50", "+0.75 ± 0.50"] * 2]
    assert "more than the standard error: 0.5 for the parent, 0.5 for the ensemble." in found.text
    assert [attrs for tag, attrs in found.tags if tag == "tr" and attrs.get("class") == "strong"] == [
        {"class": "strong"}
    ]
    assert "predict(inputs, calibrated=True)" in found.text


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        ("precision", "known to ±1.23, as closely as ±1.5 asks. When"),
        (
            "spent",
            "there are no more, and the ensemble’s difference from the parent is known to ±1.23, not to ±1.5, "
            "for which about 203 are needed.",
        ),
    ],
)
@pytest.mark.usefixtures("undrawn")
def test_the_page_says_how_many_cases_were_measured_and_why_no_more(tmp_path: Path, reason: str, says: str) -> None:
    report = at_temperatures(write_run(tmp_path / "run"))
    report["stopping"]["reason"] = reason
    (tmp_path / "run" / "report.json").write_text(json.dumps(report))
    text = page(tmp_path / "run").text
    assert "300 of 400 cases were measured, in blocks of 100: " in text and says in text


@pytest.mark.usefixtures("undrawn")
def test_a_parent_that_votes_is_named(tmp_path: Path) -> None:
    report = write_run(tmp_path / "run")
    for name in ("random_children", "ensemble"):
        report[name] |= {"size": 9, "parent": True}
    (tmp_path / "run" / "report.json").write_text(json.dumps(report))
    found = page(tmp_path / "run")
    assert found.row("Ensemble of 8 and the parent") and found.row("8 random children and the parent")
    assert "The parent, which no gene has changed, votes beside them." in found.text


@pytest.mark.usefixtures("undrawn")
def test_an_optimism_that_has_no_figure_is_said_to_have_none(tmp_path: Path) -> None:
    write_run(tmp_path / "run", selection_optimism=None, unlike_test="games are cut short here")
    text = page(tmp_path / "run").text
    assert "Selection optimism has no figure: games are cut short here." in text
    assert "Scores do not compare with those on the test split: games are cut short here." in text


@pytest.mark.usefixtures("undrawn")
def test_many_warnings_do_not_bury_the_result(tmp_path: Path) -> None:
    write_run(tmp_path / "run", warnings=[f"warning {i}" for i in range(20)])
    found = page(tmp_path / "run")
    assert "Further warnings: 17" in found.text
    assert all(f"warning {i}" in found.text for i in range(20))


@pytest.mark.usefixtures("undrawn")
def test_commands_name_the_folder_from_here_and_are_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path / "runs" / "my run")
    monkeypatch.chdir(tmp_path)
    found = page(tmp_path / "runs" / "my run")
    assert "python -m evoens play 'runs/my run'" in found.text
    assert "load_ensemble('runs/my run')" in found.text


@pytest.mark.parametrize("file", ["report.json", "history.json", "population.jsonl"])
@pytest.mark.usefixtures("undrawn")
def test_a_damaged_file_is_named(tmp_path: Path, file: str) -> None:
    write_run(tmp_path / "run")
    (tmp_path / "run" / file).write_text('{"a": ')
    with pytest.raises(CheckpointError, match=file):
        write_report(tmp_path / "run")
    assert not (tmp_path / "run" / "report.html").exists()


@pytest.mark.usefixtures("undrawn")
def test_a_folder_that_is_no_run_s_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.resolved\.yaml"):
        write_report(tmp_path)


@pytest.mark.usefixtures("undrawn")
def test_corrupted_images_have_a_section_where_there_are_some(tmp_path: Path) -> None:
    def figures_of(accuracy: float) -> dict[str, float]:
        return {"accuracy": accuracy, "nll": 1.0, "ece": 0.1}

    kinds = {
        "shot_noise": {"parent": figures_of(0.5), "ensemble": figures_of(0.625)},
        "fog": {"parent": figures_of(0.25), "ensemble": figures_of(0.375)},
    }
    details = {"corruption": {"images": 1000, "official": None, "kinds": kinds}}
    write_run(tmp_path / "run", details=details)
    found = page(tmp_path / "run")
    assert found.row("shot noise")[1:3] == ["0.5000", "0.6250"] and found.row("mean of all")[1:3] == [
        "0.3750",
        "0.5000",
    ]
    assert "The first 1,000 images of the test split" in found.text


@pytest.mark.usefixtures("undrawn")
def test_the_search_for_a_scope_has_a_section_where_there_was_one(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    assert "scope" not in page(tmp_path / "run").attributes("section", "id")
    row = {"sigma": 0.0885, "kl": 0.0198, "worth": -0.1417, "difference": 0.0009, "standard_error": 0.0039}
    failed = {"layer": "fc2.weight", "sigma": None, "kl": None, "worth": None, "error": "no <such> child"}
    about = {"target_kl": 0.02, "inputs": 256, "children": 4, "cases": 2000, "unit": "log-likelihood, nats"}
    found = {**about, "parent": -0.1426, "rows": [{"layer": "fc1.weight", **row}, failed], "chosen": ["fc1.weight"]}
    file = tmp_path / "run" / "history.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"scope": found}))
    shown = page(tmp_path / "run")
    ids = shown.attributes("section", "id")
    assert ids.index("scope") == ids.index("sigma") - 1
    assert shown.row("fc1.weight") == ["fc1.weight", "0.0885", "0.0198", "−0.1417", "+0.0009", "0.0039"]
    assert shown.row("fc2.weight")[3] == "no <such> child" and shown.row("nothing")[3] == "−0.1426"
    assert "Children touch the best: fc1.weight" in shown.text and "2,000 cases" in shown.text


def test_what_sets_and_silence_are_worth_has_a_section_where_it_is_known(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    assert "uses" not in page(tmp_path / "run").attributes("section", "id")
    covered = {"score": 0.912, "ci95": [0.9, 0.925], "n": 500}
    row = {"method": "threshold", "asked": 0.9, "covered": covered, "least_class": 0.75, "size": 1.234}
    silence = {"aurc": 0.0123, "augrc": 0.0045, "coverage_at_risk": 0.875, "risk": 0.05}
    found = {"sets": {"parent": [row], "ensemble": [row]}, "selective": {"parent": silence, "ensemble": silence}}
    write_run(tmp_path / "used", details=found)
    shown = page(tmp_path / "used")
    assert shown.row("threshold") == ["threshold", "90%", *["0.912 [0.900, 0.925]", "1.23"] * 2]
    assert "0.750 of the parent" in shown.text and shown.attributes("section", "id").count("uses") == 1
    assert shown.text.count("87.5%") == 2


def test_how_sure_competitors_are_has_a_section_where_it_is_known(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    assert "reliability" not in page(tmp_path / "run").attributes("section", "id")
    bins = [{"low": 0.0, "high": 1.0, "count": 4, "confidence": 0.75, "accuracy": 0.5}]
    found = {name: {"parent": bins, "ensemble": bins} for name in ("as it is", "tempered")}
    write_run(tmp_path / "sure", details={"reliability": found})
    shown = page(tmp_path / "sure")
    assert shown.attributes("section", "id")[1] == "reliability"
    assert any("Reliability diagrams" in words for words in shown.attributes("img", "alt"))
