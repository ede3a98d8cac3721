"""What an ensemble knows of one input: how unsure it is, and how much of that is disagreement."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from evoens.scoring.calibration import log_probabilities


@dataclass(frozen=True)
class Answer:
    """An ensemble's answer to n inputs, with what it knows of each.

    Attributes:
        probabilities: of the ensemble, `(n, c)`, temperature-scaled where its temperature is known.
        entropy: of these, in nats, `(n,)`: 0 where it is sure, ln c where it knows nothing (predictive entropy).
        mutual_information: between the answer and the member that gives it, in nats, `(n,)`; see `mutual_information`.
        vote_share: the share of members whose own answer is the ensemble's, `(n,)`.
        members: each member's probabilities as they are, `(k, n, c)`.
    """

    probabilities: Tensor
    entropy: Tensor
    mutual_information: Tensor
    vote_share: Tensor
    members: Tensor


def entropy(probabilities: Tensor) -> Tensor:
    """Return −Σ p ln p in nats, float64 `(…,)`, of probabilities `(…, c)`; 0 ln 0 is 0."""
    return -(probabilities.double() * log_probabilities(probabilities)).sum(-1)


def mutual_information(members: Tensor) -> Tensor:
    """Return H of the members' mean less the mean of their H, in nats, float64 `(n,)` (Houlsby et al. 2011, eq. 2).

    BALD: what is unsure since members disagree, apart from what each is unsure of. 0 where all say the same.

    Args:
        members: probabilities `(k, n, c)`.
    """
    return (entropy(members.double().mean(0)) - entropy(members).mean(0)).clamp_min(0)


def vote_share(members: Tensor, probabilities: Tensor) -> Tensor:
    """Return the share of members `(k, n, c)` whose likeliest class is that of `probabilities` `(n, c)`: `(n,)`.

    NaN where these are not finite.
    """
    shares = (members.argmax(-1) == probabilities.argmax(-1)).double().mean(0)
    return shares.masked_fill(~probabilities.isfinite().all(-1), float("nan"))


def answer(members: Tensor, probabilities: Tensor) -> Answer:
    """Return all of it.

    Args:
        members: probabilities `(k, n, c)`.
        probabilities: what the ensemble makes of them, `(n, c)`.
    """
    return Answer(
        probabilities,
        entropy(probabilities),
        mutual_information(members),
        vote_share(members, probabilities),
        members,
    )
