"""The section on calibration: whether the parent and the ensemble are as often right as they are sure."""

from __future__ import annotations

from evoens.report import figures
from evoens.report.facts import Facts
from evoens.report.parts import Section, drawn
from evoens.scoring.text import number

TEXT = (
    "The test images by how sure a predictor is of its answer: a marker is a bin, larger where it holds more images. "
    "Below the line it is surer than right. On the right after temperature scaling, one number fitted on the select "
    "split, which leaves every answer as it is."
)


def reliability(facts: Facts) -> list[Section]:
    """Return the section, where the problem's competitors say how sure they are; else none."""
    found = facts.report.get("details", {}).get("reliability")
    if not found:
        return []
    temperatures = facts.report["details"].get("temperature", {})
    at = ", ".join(f"{number(t, 3)} for the {who}" for who, t in temperatures.items())
    text = [TEXT, *([f"The temperature is {at}."] if at else [])]
    words = "Reliability diagrams: accuracy over confidence, of the parent and of the ensemble."
    return [Section("reliability", "Calibration", text, pictures=[drawn(figures.reliability(found), words)])]
