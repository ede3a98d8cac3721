"""What a run that an earlier evoens began lacks, filled in so that it goes on as it began."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evoens.run import Run


def with_precision(run: Run, saved: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Return the identity `saved` with a precision: where it has none, a stopwatch once chose the plan's, which stays.

    now: the identity of the run as it would begin today.
    """
    own, plan = now["config"]["evaluation"], run.state.plan
    if plan and "evaluation" not in saved["config"] and plan["precision"] != own["precision"]:
        run.warn(
            f"evaluation.precision: the run began when this was no setting, and goes on in {plan['precision']}; "
            f"a new one would be in {own['precision']}"
        )
    return {**saved, "config": {"evaluation": own, **saved["config"]}}
