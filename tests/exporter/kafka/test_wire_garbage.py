"""Whatever bytes a broker sends, a bulk decoder gives a value or a BadAnswer, and a bad answer leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.kafka import wire
from exporter.kafka.errors import BadAnswer, BrokerError
from exporter.kafka.fields import compact_length
from tests.exporter.kafka import wire_answers as answers
from tests.exporter.kafka.wire_answers import big_endian, encoded, tagged

NO_LIMIT = settings(deadline=None, max_examples=60)
TABLE = answers.table_of({"orders": range(6), "billing": range(3), "größe": [0]})
Decode = Callable[[bytes], object]


def decode_offsets() -> Decode:
    decoder = wire.ListOffsetsDecoder()
    return lambda body: decoder.decode(body, TABLE)


@dataclass(frozen=True)
class Kind:
    """One of the four answers: a fresh decoder, and answers that it must take."""

    name: str
    decoder: Callable[[], Decode]
    messages: st.SearchStrategy[Any]
    flexible: bool = True


KINDS = [
    Kind("metadata", lambda: wire.MetadataDecoder().decode, answers.metadata()),
    Kind("list_offsets", decode_offsets, answers.list_offsets(TABLE), flexible=False),
    Kind("offset_fetch", lambda: wire.OffsetFetchDecoder().decode, answers.offset_fetch()),
    Kind("log_dirs", lambda: wire.LogDirsDecoder().decode, answers.log_dirs()),
]
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.name)


def survives(decode: Decode, body: bytes) -> None:
    """A value, or an error of ours; the code of a whole answer may be what was hit."""
    try:
        decode(body)
    except (BadAnswer, BrokerError) as error:
        assert str(error)


def drawn_body(kind: Kind, data: st.DataObject) -> bytes:
    message = data.draw(kind.messages)
    return (
        tagged(message, lambda: data.draw(answers.TAGS))
        if kind.flexible and data.draw(st.booleans())
        else encoded(message)
    )


@each_kind
@NO_LIMIT
@given(body=st.binary(max_size=400))
def test_random_bytes(kind: Kind, body: bytes) -> None:
    survives(kind.decoder(), body)


@each_kind
@NO_LIMIT
@given(data=st.data())
def test_a_truncated_answer_is_bad(kind: Kind, data: st.DataObject) -> None:
    body = drawn_body(kind, data)
    decode = kind.decoder()
    cut = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(BadAnswer, match=r"byte \d+"):
        decode(body[:cut])
    decode(body)
    with pytest.raises(BadAnswer, match=r"byte \d+"):
        decode(body[:cut])


@each_kind
@NO_LIMIT
@given(data=st.data())
def test_an_answer_with_bytes_left_over_is_bad_every_time(kind: Kind, data: st.DataObject) -> None:
    body = drawn_body(kind, data)
    longer = body + data.draw(st.binary(min_size=1, max_size=30))
    decode = kind.decoder()
    for _ in range(2):
        with pytest.raises(BadAnswer, match="left over"):
            decode(longer)
    decode(body)
    with pytest.raises(BadAnswer, match="left over"):
        decode(longer)


@each_kind
@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_an_answer_with_flipped_bits(kind: Kind, data: st.DataObject) -> None:
    """Asked behind a good answer as well: what a decoder remembers must not be read by the wrong bytes."""
    body = drawn_body(kind, data)
    flips = data.draw(st.lists(st.tuples(st.integers(0, len(body) - 1), st.integers(1, 255)), min_size=1, max_size=4))
    flipped = bytearray(body)
    for at, mask in flips:
        flipped[at] ^= mask
    survives(kind.decoder(), bytes(flipped))
    decode = kind.decoder()
    decode(body)
    survives(decode, bytes(flipped))
    decode(body)


HUGE = compact_length(2**31 - 2)
METADATA_HEAD = big_endian(("i", 0)) + b"\x01\x00" + big_endian(("i", 1))
"""Without brokers and cluster id."""
TOPIC_HEAD = b"\0\0\x02t" + bytes(16) + b"\0"
BOUNDLESS = {
    "brokers": (0, big_endian(("i", 0)) + HUGE),
    "topics": (0, METADATA_HEAD + HUGE),
    "topic name": (0, METADATA_HEAD + b"\x02\0\0" + HUGE + bytes(40)),
    "partitions": (0, METADATA_HEAD + b"\x02" + TOPIC_HEAD + HUGE + bytes(40)),
    "replicas": (0, METADATA_HEAD + b"\x02" + TOPIC_HEAD + b"\x02" + bytes(14) + HUGE + bytes(40)),
    "tags of a topic": (0, METADATA_HEAD + b"\x02" + TOPIC_HEAD + b"\x01" + bytes(4) + HUGE),
    "one tag": (0, METADATA_HEAD + b"\x01" + b"\x01\x00" + HUGE),
    "offset topics": (1, big_endian(("i", 0), ("i", 2**31 - 1))),
    "offset partitions": (1, big_endian(("i", 0), ("i", 1), ("h", 6)) + b"orders" + big_endian(("i", 2**31 - 1))),
    "groups": (2, big_endian(("i", 0)) + HUGE),
    "commits": (2, big_endian(("i", 0)) + b"\x02\x02g\x02\x02t" + HUGE),
    "a note": (2, big_endian(("i", 0)) + b"\x02\x02g\x02\x02t\x02" + bytes(16) + HUGE + bytes(8)),
    "dirs": (3, big_endian(("i", 0), ("h", 0)) + HUGE),
    "replicas of a dir": (3, big_endian(("i", 0), ("h", 0)) + b"\x02\0\0\x02d\x02\x02t" + HUGE + bytes(40)),
}


@pytest.mark.parametrize("what", BOUNDLESS)
def test_a_huge_announced_length_is_refused_before_anything_is_made_of_it(what: str) -> None:
    kind, body = BOUNDLESS[what]
    with pytest.raises(BadAnswer, match=r"byte \d+"):
        KINDS[kind].decoder()(body)


def test_a_number_that_does_not_end_is_refused() -> None:
    with pytest.raises(BadAnswer, match="does not end"):
        wire.MetadataDecoder().decode(bytes(4) + b"\xff" * 50)


@pytest.mark.parametrize("name", [b"\x03\xff\xfe", b"\x03\xc3\x28"])
def test_a_name_that_is_not_utf_8_is_refused(name: bytes) -> None:
    with pytest.raises(BadAnswer, match="utf-8"):
        wire.OffsetFetchDecoder().decode(bytes(4) + b"\x02" + name + b"\x01\0\0\0\0")
