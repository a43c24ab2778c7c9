"""One gzip member out of parts that were compressed apart, each when it was made.

A gzip stream may have several members (RFC 1952, 2.2), but many HTTP clients take the first for all of it, or mix the others up. So the parts are raw DEFLATE blocks
(RFC 1951) that end on a byte, know nothing of each other and are none the last: any row of them, a last empty block, and the CRC-32 combined from theirs, are one member.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from isal import isal_zlib

_LEVEL: Final = 1
_RAW: Final = -15
"""No header, no trailer, a window of 32 KiB."""
_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"
"""DEFLATE, no name, no time, compressed fast, of no system in particular."""
_LAST_BLOCK: Final = b"\x03\x00"
"""Empty, with fixed codes."""


@dataclass(frozen=True, slots=True)
class Packed:
    """Some bytes, compressed: their blocks, and the CRC-32 and the number of the bytes themselves."""

    blocks: bytes
    crc: int
    size: int


def pack(plain: bytes) -> Packed:
    """The bytes as a part of a member."""
    deflate = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _RAW)
    blocks = deflate.compress(plain) + deflate.flush(isal_zlib.Z_SYNC_FLUSH)
    return Packed(blocks, isal_zlib.crc32(plain), len(plain))


def unpack(packed: Packed) -> bytes:
    """What was packed."""
    plain: bytes = isal_zlib.decompressobj(_RAW).decompress(packed.blocks)
    return plain


def member(parts: Sequence[Packed]) -> list[bytes]:
    """The gzip member of all the parts, in pieces that are not copied."""
    crc = size = 0
    for part in parts:
        crc = isal_zlib.crc32_combine(crc, part.crc, part.size)
        size += part.size
    trailer = struct.pack("<LL", crc, size & 0xFFFFFFFF)
    return [_HEADER, *(part.blocks for part in parts), _LAST_BLOCK + trailer]
