"""The glossary: each term is linked where it stands first in a text, as a word of its own, and explained once."""

from __future__ import annotations

import re

from evoens.report.glossary import Glossary, all_terms

LINK = re.compile(r'<a class="term" href="#([\w-]+)" title="([^"]*)">([^<]*)</a>')


def linked(text: str) -> list[tuple[str, str]]:
    """The anchor and the word of each link."""
    return [(anchor, word) for anchor, _, word in LINK.findall(Glossary().linked(text))]


def test_terms_are_linked_once_in_a_text_by_any_of_their_words() -> None:
    text = "NLL, calibrated, and ECE; the NLL after temperature scaling. Reliability near 0."
    assert linked(text) == [
        ("term-nll", "NLL"),
        ("term-temperature-scaling", "calibrated"),
        ("term-ece", "ECE"),
        ("term-reliability", "Reliability"),
    ]


def test_the_longest_term_wins_and_parts_of_words_are_none() -> None:
    assert linked("balanced accuracy") == [("term-balanced-accuracy", "balanced accuracy")]
    assert linked("8 random children") == [("term-random-children", "random children")]
    assert linked("grandparent, inaccuracy, cNLLs, KL-like, ece, select_1") == []
    assert linked("σ = 0.1 at KL 0.02") == [("term-σ", "σ"), ("term-kl-divergence", "KL")]
    assert linked("KL between members, KL from the parent") == [
        ("term-kl-between-members", "KL between members"),
        ("term-kl-from-the-parent", "KL from the parent"),
    ]


def test_texts_are_escaped_and_read_as_before() -> None:
    text = '<b>the parent\'s</b> & "NLL"'
    html = str(Glossary().linked(text))
    assert LINK.sub(r"\3", html) == "&lt;b&gt;the parent&#39;s&lt;/b&gt; &amp; &#34;NLL&#34;"
    assert len(LINK.findall(html)) == 2


def test_what_was_linked_is_explained_in_the_order_of_the_alphabet() -> None:
    glossary = Glossary()
    for text in ("the scope of σ", "NLL", "the scope"):
        glossary.linked(text)
    assert [term.name for term in glossary.terms] == ["NLL", "scope", "σ"]


def test_terms_and_their_words_are_different() -> None:
    words = [word.lower() for term in all_terms() for word in (term.name, *term.also)]
    anchors = [term.anchor for term in all_terms()]
    assert len(set(words)) == len(words) and len(set(anchors)) == len(anchors)
    assert all(term.meaning.endswith(".") for term in all_terms())
