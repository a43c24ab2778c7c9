"""Reading values out of AttributeList.toString(): whatever the values are, none is taken for another."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.jmx.attributes import parser
from exporter.jmx.transport import Attribute, Kind, Value

names = st.lists(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,12}", fullmatch=True), min_size=1, max_size=6, unique=True)
numbers = st.floats() | st.integers(-(2**63), 2**63 - 1).map(float)


def java(number: float) -> str:
    """A double as Java writes it."""
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    return repr(number).replace("e", "E").replace("E+", "E")


def same(one: Value, other: Value) -> bool:
    return one == other or (
        isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other)
    )


@given(names, st.data())
def test_numbers(wanted: list[str], data: st.DataObject) -> None:
    given_values = [data.draw(st.none() | numbers) for _ in wanted]
    text = ", ".join(f"{n} = {java(v)}" for n, v in zip(wanted, given_values, strict=True) if v is not None)
    parsed = parser([Attribute(n) for n in wanted])(f"[{text}]")
    assert parsed is not None
    assert all(same(a, b) for a, b in zip(parsed, given_values, strict=True))


@given(names, st.text(), st.data())
def test_a_text_may_hold_anything(wanted: list[str], word: str, data: st.DataObject) -> None:
    given_values = [data.draw(numbers) for _ in wanted[:-1]]
    trap = data.draw(st.sampled_from(["", f", {wanted[0]} = 7", "]", ", ", "[", " = ", "\n"]))
    text = [f"{n} = {java(v)}" for n, v in zip(wanted, given_values, strict=False)]
    attributes = [*(Attribute(n) for n in wanted[:-1]), Attribute(wanted[-1], Kind.TEXT)]
    parsed = parser(attributes)("[" + ", ".join([*text, f"{wanted[-1]} = {word}{trap}"]) + "]")
    assert parsed is not None
    assert parsed[-1] == (None if f"{word}{trap}" == "null" else f"{word}{trap}")
    assert all(same(a, b) for a, b in zip(parsed[:-1], given_values, strict=True))


def composite(**items: int) -> str:
    """A MemoryUsage as a real node writes it."""
    fields = ", ".join(
        f"itemName={n},itemType=javax.management.openmbean.SimpleType(name=java.lang.Long)" for n in items
    )
    contents = ", ".join(f"{n}={v}" for n, v in items.items())
    return (
        "javax.management.openmbean.CompositeDataSupport(compositeType=javax.management.openmbean.CompositeType"
        f"(name=java.lang.management.MemoryUsage,items=(({fields}))),contents={{{contents}}})"
    )


@given(st.integers(0, 2**40), st.integers(0, 2**40), st.booleans())
def test_composites(used: int, most: int, null: bool) -> None:
    heap = Attribute("HeapMemoryUsage", Kind.COMPOSITE, ("used", "max"))
    other = Attribute("NonHeapMemoryUsage", Kind.COMPOSITE, ("used",))
    first = "null" if null else composite(committed=5, init=1, max=most, used=used)
    text = f"[HeapMemoryUsage = {first}, NonHeapMemoryUsage = {composite(used=9)}]"
    expected = (None, None) if null else (float(used), float(most))
    assert parser([heap, other])(text) == (*expected, 9.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", (None, None)),
        ("[B = 2]", (None, 2.0)),
        ("[A = null, B = true]", (None, 1.0)),
        ("[A = IDLE, B = 1.5E-5]", (None, 1.5e-5)),
        ("[A = 1, B = 2, C = 3]", None),
        ("[B = 2, A = 1]", None),
        ("[AA = 1]", None),
        ("[, B = 2]", (None, 2.0)),
        ("", None),
    ],
)
def test_what_is_left_out_or_strange(text: str, expected: tuple[float | None, ...] | None) -> None:
    assert parser([Attribute("A"), Attribute("B")])(text) == expected


def test_two_texts_cannot_be_told_apart() -> None:
    with pytest.raises(ValueError, match="one text attribute at most, and last: A, B"):
        parser([Attribute("A", Kind.TEXT), Attribute("B", Kind.TEXT)])
    with pytest.raises(ValueError, match="and last"):
        parser([Attribute("A", Kind.TEXT), Attribute("B")])
