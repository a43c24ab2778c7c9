"""Reads and writes the primitive fields of Kafka's flexible messages (KIP-482), every length checked against what is left."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TypeVar

from exporter.kafka.errors import BadAnswer

T = TypeVar("T")

_INT8 = struct.Struct(">b")
_INT16 = struct.Struct(">h")
_INT32 = struct.Struct(">i")
_INT64 = struct.Struct(">q")
_FLOAT64 = struct.Struct(">d")


def read_all(body: memoryview | bytes, request: str, read: Callable[[FieldReader], T]) -> T:
    """``read`` over a whole answer; raises BadAnswer for whatever is not what the message's definition says."""
    reader = FieldReader(body, request)
    try:
        value = read(reader)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise BadAnswer(f"the answer cannot be decoded at byte {reader.at}: {error}", request=request) from error
    reader.end()
    return value


class FieldReader:
    """Reads one answer from front to back. Raises BadAnswer, struct.error, IndexError, UnicodeDecodeError."""

    __slots__ = ("_request", "at", "body", "size")

    def __init__(self, body: memoryview | bytes, request: str) -> None:
        self.body = bytes(body)
        self.size = len(self.body)
        self.at = 0
        self._request = request

    def bad(self, message: str) -> BadAnswer:
        return BadAnswer(f"the answer cannot be decoded: {message}", request=self._request)

    def skip(self, size: int) -> int:
        """Step over ``size`` bytes; returns where they begin."""
        begin = self.at
        if size < 0 or size > self.size - begin:
            raise self.bad(f"{size} bytes announced at byte {begin}, {self.size - begin} are left")
        self.at = begin + size
        return begin

    def take(self, size: int) -> bytes:
        begin = self.skip(size)
        return self.body[begin : self.at]

    def end(self) -> None:
        """Nothing may be left over."""
        if self.at != self.size:
            raise self.bad(f"{self.size - self.at} bytes are left over at byte {self.at}")

    def int8(self) -> int:
        self.at += 1
        return int(_INT8.unpack_from(self.body, self.at - 1)[0])

    def int16(self) -> int:
        self.at += 2
        return int(_INT16.unpack_from(self.body, self.at - 2)[0])

    def int32(self) -> int:
        self.at += 4
        return int(_INT32.unpack_from(self.body, self.at - 4)[0])

    def int64(self) -> int:
        self.at += 8
        return int(_INT64.unpack_from(self.body, self.at - 8)[0])

    def float64(self) -> float:
        self.at += 8
        return float(_FLOAT64.unpack_from(self.body, self.at - 8)[0])

    def varint(self) -> int:
        """An unsigned varint of at most 32 bits."""
        byte = self.body[self.at]
        self.at += 1
        if byte < 0x80:
            return byte
        value, shift = byte & 0x7F, 7
        while shift < 35:
            byte = self.body[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
        raise self.bad(f"a number before byte {self.at} does not end")

    def bounded(self, count: int, entry_size: int = 1) -> int:
        """A count of entries of at least ``entry_size`` bytes each; negative (null) counts as none."""
        if count * entry_size > self.size - self.at:
            raise self.bad(f"{count} entries announced at byte {self.at}, {self.size - self.at} bytes are left")
        return max(count, 0)

    def length(self, entry_size: int = 1) -> int:
        """A compact array's length; null counts as empty."""
        return self.bounded(self.varint() - 1, entry_size)

    def bytes_(self) -> bytes:
        """Compact bytes; null counts as empty."""
        return self.take(max(self.varint() - 1, 0))

    def text(self, size: int) -> str:
        return self.take(size).decode()

    def nullable(self) -> str | None:
        """A compact nullable string."""
        size = self.varint()
        return None if size == 0 else self.text(size - 1)

    def string(self) -> str:
        """A compact string; null counts as empty."""
        return self.nullable() or ""

    def tags(self) -> None:
        """Step over tagged fields."""
        for _ in range(self.bounded(self.varint(), 2)):
            self.varint()
            self.skip(self.varint())


def compact_length(count: int) -> bytes:
    """Unsigned varint of count + 1."""
    value, encoded = count + 1, bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def compact_string(text: str) -> bytes:
    raw = text.encode()
    return compact_length(len(raw)) + raw
