"""The history on disk: one file, replaced as a whole, with a checksum over each of its records.

The file begins with a line that names the format. Then comes a record per table: the sizes and the CRC-32 of its two parts, a JSON text that says which
family and series it holds, and the gzip-compressed arrays of its chunks (little-endian). A record without parts ends the file. Of a chunk only the series are
written that have a sample in it: where series come and go, most places of most chunks are empty, and scattered they do not compress well.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Hashable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt
from isal import igzip, isal_zlib

from exporter.history.errors import CheckpointError
from exporter.history.narrow import ABSENT
from exporter.history.register import Origin
from exporter.history.table import Chunk
from exporter.series import Labels

FORMAT: Final = 2
_IsalError: type[Exception] = isal_zlib.error  # type: ignore[assignment]
_MAGIC: Final = b"klaxon-history "
_SIZES: Final = struct.Struct("<QQI")
_SERIES_PER_CALL: Final = 2_000
"""Series that one call of the JSON encoder takes, so that it does not hold the interpreter for long."""
_BYTES_PER_CALL: Final = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class SavedTable:
    """One table: its family, who writes it (a cluster or a rule's source), its series by column, and its chunks.

    A series' origin (see ``register.Origin``) is ``shapes[column]`` and ``keys[column]``; a column without a key is free.
    """

    family: str
    cluster: str | None
    source: str | None
    shapes: list[tuple[str, ...] | None]
    keys: list[Hashable | None]
    chunks: list[Chunk]


def write(path: Path, tables: Iterable[SavedTable]) -> None:
    """Replaces the file atomically; raises OSError, and then the file is the one before."""
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(_MAGIC + b"%d\n" % FORMAT)
            for table in tables:
                arrays, sizes = _arrays(table)
                _write_record(file, _described(table, sizes), arrays)
            file.write(_SIZES.pack(0, 0, 0))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


def read(path: Path) -> Iterator[SavedTable]:
    """The tables of a file; raises CheckpointError where it is not one of ours, of a newer format or damaged, and OSError where it cannot be read."""
    with path.open("rb") as file:
        first = file.readline(64)
        if not first.startswith(_MAGIC) or not first[len(_MAGIC) :].strip().isdigit():
            raise CheckpointError("it is not a checkpoint of Klaxon's history")
        version = int(first[len(_MAGIC) :])
        if version != FORMAT:
            raise CheckpointError(f"its format is {version}, this Klaxon reads format {FORMAT}")
        while (record := _read_record(file)) is not None:
            yield _restored(*record)


def set_aside(path: Path) -> Path:
    """Renames a file that cannot be used, so that it can be looked at; an earlier one is overwritten."""
    aside = path.with_name(f"{path.name}.unreadable")
    path.replace(aside)
    return aside


# --- records ------------------------------------------------------------------------------------------------------------------------------


def _write_record(file: IO[bytes], description: bytes, arrays: bytes) -> None:
    checksum = zlib.crc32(arrays, zlib.crc32(description))
    file.write(_SIZES.pack(len(description), len(arrays), checksum))
    file.write(description)
    file.write(arrays)


def _read_record(file: IO[bytes]) -> tuple[bytes, bytes] | None:
    sizes = file.read(_SIZES.size)
    if len(sizes) < _SIZES.size:
        raise CheckpointError("it ends too early")
    of_description, of_arrays, checksum = _SIZES.unpack(sizes)
    if not of_description:
        return None
    left = os.fstat(file.fileno()).st_size - file.tell()
    if of_description + of_arrays > left:
        raise CheckpointError("it ends too early")
    description, arrays = file.read(of_description), file.read(of_arrays)
    if zlib.crc32(arrays, zlib.crc32(description)) != checksum:
        raise CheckpointError("its checksum is wrong")
    return description, arrays


def _described(table: SavedTable, sizes: list[tuple[int, int, int]]) -> bytes:
    shapes: dict[tuple[str, ...] | None, int] = {}
    used = _used(table)
    series = [_named(table.shapes[column], table.keys[column], shapes) for column in used.tolist()]
    parts = [
        json.dumps(series[start : start + _SERIES_PER_CALL])[1:-1] for start in range(0, len(series), _SERIES_PER_CALL)
    ]
    head = {
        "family": table.family,
        "cluster": table.cluster,
        "source": table.source,
        "shapes": list(shapes),
        "chunks": sizes,
    }
    return f'{json.dumps(head)[:-1]}, "series": [{", ".join(parts)}]}}'.encode()


def _named(names: tuple[str, ...] | None, key: Any, shapes: dict[tuple[str, ...] | None, int]) -> list[Any]:
    shape = shapes.setdefault(names, len(shapes))
    return [shape, dict(key) if isinstance(key, Labels) else key]


def _used(table: SavedTable) -> npt.NDArray[np.intp]:
    """The columns that belong to a series; only these are written."""
    return np.array([column for column, key in enumerate(table.keys) if key is not None], dtype=np.intp)


def _arrays(table: SavedTable) -> tuple[bytes, list[tuple[int, int, int]]]:
    """The chunks' times, places, columns and bits as gzip members of about a megabyte before compression, and of each its rows, stored rows and columns."""
    used = _used(table)
    members: list[bytes] = []
    sizes: list[tuple[int, int, int]] = []
    for chunk in table.chunks:
        bits = chunk.some_rows(np.arange(chunk.stored))
        inside = used[: np.searchsorted(used, chunk.width)]
        columns = np.flatnonzero((bits != ABSENT).any(axis=0)[inside])
        members += _packed(chunk.times[: chunk.rows], "<i8")
        members += _packed(chunk.place[: chunk.rows], "<i4")
        members += _packed(columns, "<i4")
        members += _packed(bits if len(columns) == chunk.width else bits[:, inside[columns]], "<u8")
        sizes.append((chunk.rows, chunk.stored, len(columns)))
    return b"".join(members), sizes


def _packed(array: npt.NDArray[Any], kind: str) -> Iterator[bytes]:
    if array.size:
        raw = np.ascontiguousarray(array, dtype=kind).reshape(-1).view(np.uint8)
        for start in range(0, len(raw), _BYTES_PER_CALL):
            yield igzip.compress(raw[start : start + _BYTES_PER_CALL], 1, mtime=0)


def _restored(description: bytes, arrays: bytes) -> SavedTable:
    try:
        head = json.loads(description)
        shapes = [None if names is None else tuple(map(str, names)) for names in head["shapes"]]
        origins = [_origin(shapes[shape], key) for shape, key in head["series"]]
        reader = _Reader(igzip.decompress(arrays) if arrays else b"")
        chunks = [_chunk(reader, len(origins), *map(int, sizes)) for sizes in head["chunks"]]
        return SavedTable(
            str(head["family"]),
            _text(head["cluster"]),
            _text(head["source"]),
            [names for names, _ in origins],
            [key for _, key in origins],
            chunks,
        )
    except (ValueError, KeyError, TypeError, IndexError, OSError, EOFError, zlib.error, _IsalError) as error:
        raise CheckpointError(f"a record makes no sense: {error!r}") from error


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _origin(names: tuple[str, ...] | None, key: Any) -> Origin:
    if names is None:
        return None, Labels.of({str(name): str(value) for name, value in key.items()})
    if len(key) != len(names):
        raise ValueError("a series has not as many values as labels")
    return names, tuple(map(str, key))


def _chunk(reader: _Reader, series: int, rows: int, stored: int, width: int) -> Chunk:
    times = reader.take(rows, "<i8").astype(np.int64)
    place = reader.take(rows, "<i4").astype(np.int32)
    columns = reader.take(width, "<i4").astype(np.intp)
    if not rows or place.min() < 0 or place.max() >= stored or (np.diff(times) <= 0).any():
        raise ValueError("a chunk's rows are not in order")
    if (np.diff(columns, prepend=-1, append=series) <= 0).any():
        raise ValueError("a chunk's columns are not in order")
    bits = np.full((stored, int(columns.max(initial=-1)) + 1), ABSENT)
    bits[:, columns] = reader.take(stored * width, "<u8").reshape(stored, width)
    return Chunk(times, place, bits, rows, stored).counted()


class _Reader:
    """Takes arrays off the front of some bytes."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0

    def take(self, count: int, kind: str) -> npt.NDArray[Any]:
        array = np.frombuffer(self._raw, np.dtype(kind), count, self._at)
        self._at += array.nbytes
        return array


def _sync_folder(folder: Path) -> None:
    """A rename lasts only when its folder is on disk as well; not every system can do that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
