"""Genomes: exact JSON both ways, one canonical text and key each, every malformed input refused."""

import hashlib
import json
import math
import subprocess
import sys
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evoens.errors import GenomeError
from evoens.genome import STRUCTURES, Gene, Genome, Mask

SEEDS = st.integers(0, 2**64 - 1)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def masks(draw: st.DrawFn) -> Mask:
    structure = draw(st.sampled_from(STRUCTURES))
    parts = draw(st.integers(1, 2 if structure == "2:4" else 12))
    density = 1 / parts if parts > 2 else 0.5 if structure == "2:4" else draw(st.floats(0, 1, exclude_min=True))
    return Mask(draw(SEEDS), density, parts, draw(st.integers(0, parts - 1)), structure)


GENES = st.builds(
    Gene,
    seed=SEEDS,
    scale=NUMBERS,
    sign=st.sampled_from([1, -1]),
    mask=st.none() | masks(),
    extra=st.dictionaries(st.text(max_size=8), NUMBERS, max_size=4).map(lambda d: tuple(sorted(d.items()))),
    scope=st.lists(st.text(min_size=1, max_size=8), max_size=3).map(tuple),
)
GENOMES = st.lists(GENES, max_size=4).map(lambda genes: Genome(tuple(genes)))


@given(GENOMES)
def test_json_gives_the_same_genome_and_key_back(genome: Genome) -> None:
    back = Genome.from_json(json.loads(json.dumps(genome.to_json())))
    assert back == genome
    assert back.key == genome.key
    assert back.canonical == genome.canonical


@given(GENOMES, GENOMES)
def test_genomes_are_equal_exactly_when_their_keys_are(a: Genome, b: Genome) -> None:
    assert (a == b) == (a.key == b.key)


def test_key_is_the_sha256_of_the_canonical_form_written_by_hand() -> None:
    genome = Genome((Gene(7, 0.1, -1, Mask(9, 0.25, 4, 3), (("rank", 2.0),)), Gene(2**64 - 1, 1e-05)))
    text = (
        '[{"extra":{"rank":2.0},"mask":{"density":0.25,"part":3,"parts":4,"seed":9},"scale":0.1,"seed":7,"sign":-1},'
        '{"extra":{},"mask":null,"scale":1e-05,"seed":18446744073709551615,"sign":1}]'
    )
    assert genome.canonical == text
    assert genome.key == hashlib.sha256(text.encode()).hexdigest()
    assert Genome().key == hashlib.sha256(b"[]").hexdigest()


def test_a_scope_stands_in_the_canonical_form_only_where_there_is_one() -> None:
    text = '[{"extra":{},"mask":null,"scale":0.5,"scope":["a","b.*"],"seed":1,"sign":1}]'
    assert Genome((Gene(1, 0.5, scope=("a", "b.*")),)).canonical == text
    for wrong in ("a", ["a"], ("a", 1), ("",)):
        with pytest.raises(GenomeError, match=r"gene\.scope: expected a tuple of names"):
            Gene(1, 0.5, scope=wrong)  # type: ignore[arg-type]


def test_a_structure_stands_in_the_canonical_form_only_where_there_is_one() -> None:
    text = (
        '[{"extra":{},"mask":{"density":0.5,"part":1,"parts":2,"seed":9,"structure":"2:4"},'
        '"scale":1.0,"seed":7,"sign":1}]'
    )
    assert Genome((Gene(7, 1.0, mask=Mask(9, 0.5, 2, 1, "2:4")),)).canonical == text
    plain = Genome((Gene(7, 1.0, mask=Mask(9, 0.5, 2, 1, "unstructured")),))
    assert plain.canonical == text.replace(',"structure":"2:4"', "")
    assert Genome.from_json([{**ROW, "mask": {**MASK, "structure": "unstructured"}}]) == Genome.from_json(
        [{**ROW, "mask": MASK}]
    )


def test_a_parts_share() -> None:
    assert [Mask(1, 0.2, 2, part).share for part in (0, 1)] == [0.2, 0.8]
    assert (Mask(1, 0.2).share, Mask(1, 0.333, 3, 2).share) == (0.2, 1 / 3)


def test_key_is_published() -> None:
    """Worked with `printf '[{"extra":{},"mask":null,...}]' | sha256sum`: keys must stay the same for ever."""
    assert Genome((Gene(1, 0.5),)).key == "1c2531a613bf730822176c56b7e4bbc45bde2caf80c35f8d98d0fa1692b0babc"


def test_equal_numbers_have_one_key() -> None:
    plain = Genome((Gene(1, 1.0, 1, Mask(2, 1.0), (("a", 0.0),)),))
    assert Genome((Gene(1, 1, 1, Mask(2, 1), (("a", -0.0),)),)).key == plain.key


def test_key_is_the_same_in_another_process() -> None:
    code = "from evoens.genome import *; print(Genome((Gene(5, .02, 1, Mask(6, .2, 2, 1)),)).key)"
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert there == Genome((Gene(5, 0.02, 1, Mask(6, 0.2, 2, 1)),)).key


def test_stacked_adds_one_gene_at_the_end_and_leaves_the_elite_alone() -> None:
    first, second = Gene(1, 0.1), Gene(2, 0.1)
    elite = Genome((first,))
    assert elite.stacked(second).genes == (first, second)
    assert elite.genes == (first,)


def test_frozen_and_hashable() -> None:
    gene = Gene(1, 0.1)
    with pytest.raises(FrozenInstanceError):
        gene.scale = 0.2  # type: ignore[misc]
    assert len({Genome((gene,)), Genome((Gene(1, 0.1),))}) == 1


ROW: dict[str, Any] = {"seed": 1, "scale": 0.1}
MASK: dict[str, Any] = {"seed": 1, "density": 0.5, "parts": 2, "part": 0}
MALFORMED = {
    "not a list": {"seed": 1},
    "none": None,
    "gene not an object": [3],
    "gene a list of pairs": [[["seed", 1]]],
    "seed missing": [{"scale": 0.1}],
    "scale missing": [{"seed": 1}],
    "unknown key": [{**ROW, "sede": 1}],
    "seed negative": [{**ROW, "seed": -1}],
    "seed too large": [{**ROW, "seed": 2**64}],
    "seed a float": [{**ROW, "seed": 1.0}],
    "seed a bool": [{**ROW, "seed": True}],
    "seed a string": [{**ROW, "seed": "1"}],
    "scale NaN": [{**ROW, "scale": math.nan}],
    "scale infinite": [{**ROW, "scale": math.inf}],
    "scale beyond a float": [{**ROW, "scale": 10**400}],
    "scale a string": [{**ROW, "scale": "0.1"}],
    "scale a bool": [{**ROW, "scale": True}],
    "scale null": [{**ROW, "scale": None}],
    "sign zero": [{**ROW, "sign": 0}],
    "sign a float": [{**ROW, "sign": 1.0}],
    "sign a bool": [{**ROW, "sign": True}],
    "extra a list": [{**ROW, "extra": [1]}],
    "extra not a number": [{**ROW, "extra": {"a": "b"}}],
    "extra NaN": [{**ROW, "extra": {"a": math.nan}}],
    "extra null": [{**ROW, "extra": None}],
    "mask a number": [{**ROW, "mask": 3}],
    "mask empty": [{**ROW, "mask": {}}],
    "mask unknown key": [{**ROW, "mask": {**MASK, "shape": 1}}],
    "structure a number": [{**ROW, "mask": {**MASK, "structure": 1}}],
    "structure unknown": [{**ROW, "mask": {**MASK, "structure": "rows"}}],
    "structure null": [{**ROW, "mask": {**MASK, "structure": None}}],
    "2:4 of another density": [{**ROW, "mask": {**MASK, "density": 0.4, "structure": "2:4"}}],
    "2:4 in three parts": [{**ROW, "mask": {"seed": 1, "density": 1 / 3, "parts": 3, "structure": "2:4"}}],
    "mask seed negative": [{**ROW, "mask": {**MASK, "seed": -1}}],
    "density zero": [{**ROW, "mask": {**MASK, "density": 0}}],
    "density above one": [{**ROW, "mask": {**MASK, "density": 1.1}}],
    "density NaN": [{**ROW, "mask": {**MASK, "density": math.nan}}],
    "density a string": [{**ROW, "mask": {**MASK, "density": "half"}}],
    "parts zero": [{**ROW, "mask": {**MASK, "parts": 0}}],
    "parts a float": [{**ROW, "mask": {**MASK, "parts": 2.0}}],
    "parts beyond the words": [{**ROW, "mask": {"seed": 1, "density": 2**-17, "parts": 2**17}}],
    "part beyond parts": [{**ROW, "mask": {**MASK, "part": 2}}],
    "part negative": [{**ROW, "mask": {**MASK, "part": -1}}],
    "density not 1/parts": [{**ROW, "mask": {**MASK, "parts": 4}}],
}


@pytest.mark.parametrize("rows", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_input_is_refused_and_says_what_was_found(rows: object) -> None:
    with pytest.raises(GenomeError, match="found"):
        Genome.from_json(rows)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Genome([Gene(1, 0.1)]),
        lambda: Genome((1,)),
        lambda: Gene(1, 0.1, mask={"seed": 1}),
        lambda: Gene(1, 0.1, extra=(("b", 1.0), ("a", 1.0))),
        lambda: Gene(1, 0.1, extra=(("a", 1.0), ("a", 2.0))),
        lambda: Gene(1, 0.1, extra=((1, 1.0),)),
        lambda: Gene(1, 0.1, extra=(("a", 1.0, 2.0),)),
        lambda: Gene(1, 0.1, extra={"a": 1.0}),
    ],
    ids=["list of genes", "not a gene", "mask a dict", "unordered", "named twice", "name a number", "triple", "dict"],
)
def test_wrong_parts_are_refused_where_they_are_made(make: Any) -> None:
    with pytest.raises(GenomeError, match="expected"):
        make()


def test_the_message_names_the_field_and_its_bounds() -> None:
    with pytest.raises(GenomeError, match=r"mask\.part: expected an integer in \[0, 2\), found 2"):
        Mask(1, 0.5, 2, 2)
