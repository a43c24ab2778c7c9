"""Parts compressed apart are one gzip member, by zlib's own judgement."""

from __future__ import annotations

import gzip
import zlib

from hypothesis import given
from hypothesis import strategies as st

from exporter.metrics.gzip_member import member, pack, unpack

LINES = st.lists(st.sampled_from([b'kafka_brokers{cluster="c"} 3.0\n', b"# TYPE x gauge\n", b"x 1.0\n"])).map(b"".join)
PARTS = st.lists(st.one_of(LINES, st.binary(max_size=300)), max_size=8)


def only_member(body: bytes) -> bytes:
    """What the first member says; AssertionError if it is not all there is. zlib compares the CRC and the size."""
    first = zlib.decompressobj(16 + zlib.MAX_WBITS)
    plain = first.decompress(body)
    assert first.eof
    assert not first.unused_data
    return plain


@given(parts=PARTS)
def test_any_row_of_parts_is_one_member(parts: list[bytes]) -> None:
    packed = [pack(part) for part in parts]
    body = b"".join(member(packed))
    assert only_member(body) == gzip.decompress(body) == b"".join(parts)
    assert [unpack(part) for part in packed] == parts


def test_parts_of_many_blocks_and_windows() -> None:
    parts = [b"".join(b"kafka_topic_partition_current_offset %d\n" % (i * k) for i in range(60_000)) for k in (1, 7)]
    body = b"".join(member([pack(part) for part in parts]))
    assert only_member(body) == b"".join(parts)
    assert len(body) < sum(map(len, parts)) / 4
