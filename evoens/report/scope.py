"""The section on the search for a scope: what each layer alone would have brought."""

from __future__ import annotations

from evoens.report.facts import Facts
from evoens.report.parts import Section, Table
from evoens.report.tables import tried


def scope(facts: Facts) -> list[Section]:
    """Return the section, where the run has searched for a scope; else none."""
    found = facts.history.get("scope")
    if not found:
        return []
    head, rows = tried(found)
    text = (
        f"Each layer was tried alone, with {found['children']} children at the scale that moves the outputs by "
        f"{found['target_kl']:g} nats on average, or at the one that is set. Their ensemble was judged on "
        f"{found['cases']:,} cases of the search split; higher is better. Children touch the best: "
        f"{found['chosen'][0]}. What comes before it is computed once for all of them where inputs are the same."
    )
    caption = "The standard error is that of the difference from the parent, case by case."
    table = Table(rows, head, caption, strong=found["chosen"][0])
    return [Section("scope", "How the layer was found", [text], [table])]
