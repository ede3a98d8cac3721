"""The glossary of a page: what its terms mean, each linked from where it stands."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from markupsafe import Markup, escape

from evoens.diversity.measures import MEASURES
from evoens.report.tables import KL_PARENT


@dataclass(frozen=True)
class Term:
    """A term, what it means, and further words for it; of small letters the first may be a capital in the text."""

    name: str
    meaning: str
    also: tuple[str, ...] = ()

    @property
    def anchor(self) -> str:
        """Where the page explains it."""
        return "term-" + re.sub(r"\W+", "-", self.name.lower())


TERMS = (
    Term("accuracy", "The share of cases in which the most probable class is the right one."),
    Term("balanced accuracy", "The accuracy in each class by itself, averaged over the classes that have cases."),
    Term(
        "NLL",
        "Negative log-likelihood: −ln of the probability that was given to the right class, averaged over the cases, "
        "in nats. 0 is sure and right; one sure and wrong answer costs much.",
    ),
    Term("log-likelihood", "ln of the probability that was given to the right class, averaged over the cases."),
    Term("nats", "The unit of what is measured by natural logarithms; ln 2 nats are a bit.", ("nat",)),
    Term(
        "ECE",
        "Expected calibration error: how far confidence and accuracy are apart, averaged over 15 bins of confidence. "
        "0 where a predictor is as often right as it is sure. Chance alone keeps it above 0, and of cases drawn anew, "
        "some of them twice, still further: its bootstrap interval lies high, and may not even hold it.",
    ),
    Term(
        "temperature scaling",
        "All logits are divided by one number, the temperature, fitted on the select split. Above 1 it makes a "
        "predictor less sure; the order of the classes stays.",
        ("calibrated", "temperature", "tempered"),
    ),
    Term(
        "action temperature",
        "A policy draws actions by p^(1/T) in place of its probabilities p. Below 1 it takes the likeliest more often. "
        "Fitted to the return on the select split.",
    ),
    Term("confidence", "The probability that a predictor gives to the class it answers.", ("how sure",)),
    Term("cAcc", "Accuracy on corrupted images: the mean over all kinds and severities."),
    Term("cNLL", "NLL on corrupted images: the mean over all kinds and severities."),
    Term("cECE", "ECE on corrupted images: the mean over all kinds and severities."),
    Term(
        "KL divergence",
        "How far one distribution of answers is from another, in nats: Σ p ln(p/q), averaged over the inputs. 0 where "
        "both are the same.",
        ("KL",),
    ),
    Term(KL_PARENT, "The KL divergence of a child’s answers from its parent’s, KL(parent ‖ child)."),
    Term("σ", "The scale of the noise that makes children: the standard deviation of what is added to a weight."),
    Term("scope", "Which layers noise may touch. What comes before them is the same for all members."),
    Term(
        "trust-region search",
        "Children at several σ are measured, and the σ is taken at which they leave their parent by the KL divergence "
        "that was asked for.",
        ("trust region",),
    ),
    Term("parent", "The trained network from which every child is made."),
    Term("children", "Networks made from the parent by a genome: a few numbers that rebuild the child.", ("child",)),
    Term("random children", "Children that nothing has selected: what as many draws give without any search."),
    Term("members", "The children that make up the ensemble.", ("member",)),
    Term(
        "ensemble",
        "Networks that answer together: their probabilities are made one, by their mean unless the run says otherwise.",
    ),
    Term("fitness", "A child’s score on the search split."),
    Term(
        "reliability",
        "How well the ranking of the children would come out again on new cases: the rank correlation of their scores "
        "on two halves, corrected for half the length (Spearman–Brown). 1: real differences; 0: noise.",
        ("reliab.",),
    ),
    Term("elite", "A child that the next generation starts from.", ("elites",)),
    Term(
        "Pareto front",
        "The children that no other dominates: none is at least as good by every objective, and better by one.",
    ),
    Term(
        "hypervolume",
        "The volume of all that a front dominates above a fixed point: it grows where the front moves or gets denser.",
    ),
    Term("archive", "The best child in each cell of a grid over two measures of what children are like (MAP-Elites)."),
    Term("search split", "The cases by which children are compared while they evolve."),
    Term("select split", "Cases that search never saw, by which the members are chosen.", ("select",)),
    Term(
        "test split",
        "Cases that neither search nor selection has seen: what the report measures on.",
        ("unseen cases",),
    ),
    Term("selection optimism", "How much better the best child looks where it was chosen than on the test split."),
    Term("bootstrap", "An interval that holds 95 of 100 results when the same cases are drawn anew, with replacement."),
    Term("paired", "Both are measured on the same cases and compared case by case, so that luck they share cancels."),
    Term("standard error", "How far a mean would scatter on other cases of the same number."),
    Term("null floor", "What a measure gives for one member against itself: the noise of measuring.", ("floor",)),
    Term("saliency", "Which pixels the answer hangs on most: the size of its gradient by each of them."),
    Term(
        "perceptual hash", "A picture as a few bits; pictures that look alike share most of them.", ("hashes", "hash")
    ),
    Term(
        "CKA",
        "Centred kernel alignment: how alike two layers represent the same inputs, 0 to 1 (Kornblith et al. 2019).",
    ),
    Term("t-SNE", "A map in two dimensions on which what is alike lies close (van der Maaten & Hinton 2008)."),
    Term("double fault", "The share of inputs on which both of two members are wrong."),
    Term("attribution", "How much each pixel has to do with the answer, by any of several methods."),
    Term("MFLOP", "A million floating-point operations."),
    Term("replayable", "Rebuilt from the parent and a genome alone, to the same bits."),
)


def all_terms() -> list[Term]:
    """Return all terms, those of the measures of diversity too."""
    return [*TERMS, *(Term(m.title, m.meaning) for m in MEASURES.values() if m.meaning)]


@dataclass
class Glossary:
    """Links the terms of a page's texts, and knows in the end which of them the page has."""

    used: set[Term] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Make a pattern of all words for terms, the longest first."""
        words = {word: term for term in all_terms() for word in (term.name, *term.also)}
        patterns = map(_pattern, sorted(words, key=len, reverse=True))
        self._by_word = {word.lower(): term for word, term in words.items()}
        self._words = re.compile(rf"(?<![\w-])(?:{'|'.join(patterns)})(?![\w-])")

    def linked(self, text: str) -> Markup:
        """Return a text as HTML, each term linked to its meaning where it stands first."""
        seen: set[Term] = set()

        def link(found: re.Match[str]) -> str:
            """Return the term as it stands, linked the first time."""
            term = self._by_word[found[0].lower()]
            if term in seen:
                return found[0]
            seen.add(term)
            return f'<a class="term" href="#{term.anchor}" title="{escape(term.meaning)}">{found[0]}</a>'

        html = self._words.sub(link, str(escape(text)))
        self.used |= seen
        return Markup(html)

    @property
    def terms(self) -> list[Term]:
        """The terms that were linked, in the order of the alphabet."""
        return sorted(self.used, key=lambda term: term.name.lower())


def _pattern(word: str) -> str:
    """A word as it may begin a sentence; what has capitals of its own is written so alone."""
    own = re.escape(word)
    return f"(?:{own[0].upper()}|{own[0]}){own[1:]}" if word.islower() and word[0] != "σ" else own
