"""What a broker offers (ApiVersions): its APIs, the features that its software supports and those that the cluster has finalized (KIP-511, KIP-584)."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.facts.configs import Features
from exporter.kafka.api import Api
from exporter.kafka.fields import FieldReader, compact_string, read_all
from exporter.kafka.messages import API_VERSIONS, Versions, raise_for

WITH_ALL_FEATURES = Api("ApiVersions", 18, 4, True)
"""Names supported features that begin at level 0 too, which v3 leaves out (KAFKA-17011)."""

_SUPPORTED, _EPOCH, _FINALIZED = 0, 1, 2
"""The answer's tagged fields."""


@dataclass(frozen=True, slots=True)
class Offer:
    """Api key -> (lowest, highest version), and the features."""

    versions: Versions
    features: Features


def request() -> bytes:
    """The same body for v3 and v4: name and version of the client."""
    return compact_string("klaxon") + compact_string("1") + b"\0"


def offer(body: memoryview) -> Offer:
    """Raises BadAnswer, BrokerError."""
    error, found = read_all(body, API_VERSIONS.name, _read)
    raise_for(error, API_VERSIONS.name)
    return found


def _read(reader: FieldReader) -> tuple[int, Offer]:
    error = reader.int16()
    versions: dict[int, tuple[int, int]] = {}
    for _ in range(reader.length()):
        key = reader.int16()
        versions[key] = (reader.int16(), reader.int16())
        reader.tags()
    reader.int32()
    supported: dict[str, tuple[int, int]] = {}
    finalized: dict[str, tuple[int, int]] = {}
    epoch = -1
    for _ in range(reader.bounded(reader.varint(), 2)):
        tag, size = reader.varint(), reader.varint()
        end = reader.at + size
        if tag == _SUPPORTED:
            supported = _levels(reader)
        elif tag == _EPOCH:
            epoch = reader.int64()
        elif tag == _FINALIZED:
            finalized = _levels(reader)
        else:
            reader.skip(size)
        if reader.at != end:
            raise reader.bad(f"the tagged field {tag} does not end at byte {end}")
    # The levels in force stand only beside a known epoch, the highest one first.
    in_force = {name: high for name, (high, _) in finalized.items()} if epoch >= 0 else {}
    return error, Offer(versions, Features(supported, in_force, epoch))


def _levels(reader: FieldReader) -> dict[str, tuple[int, int]]:
    """Feature -> the two numbers that stand behind its name."""
    found: dict[str, tuple[int, int]] = {}
    for _ in range(reader.length()):
        name = reader.string()
        found[name] = (reader.int16(), reader.int16())
        reader.tags()
    return found
