"""The metrics page: every family's lines rendered and compressed when they are published, so that a scrape only joins what lies ready.

What is kept is gzip, which takes a twentieth of the text. Prometheus asks for just that; for the rare scrape that wants plain text it is unpacked member by member.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from threading import Lock
from typing import Final

import numpy as np
from isal import igzip
from prometheus_client import CollectorRegistry, generate_latest

from exporter.blocks import Block
from exporter.metrics.catalogue import MetricRow
from exporter.metrics.writer import CONTENT_TYPE, Writer, WriterError, check, header

_LEVEL = 1
_OWN_MEMBER_FROM: Final = 16 * 1024
"""Bytes from which lines are compressed apart; smaller ones share a gzip member with their neighbours."""
_RUN_UP_TO: Final = 64 * 1024


class Page:
    """What ``/metrics`` shows. ``publish`` and ``render`` may be called from any thread; a scrape sees one state of all clusters, never half of a publish.

    A family stands once on the page, the lines of all clusters together, in the catalogue's order. The process's own registry comes last, read at each scrape.
    """

    def __init__(self, catalogue: Mapping[str, MetricRow], registry: CollectorRegistry | None = None) -> None:
        """Raises WriterError if the registry has a family that the catalogue has for clusters: it would stand twice on the page."""
        self._catalogue = catalogue
        self._registry = registry
        for name in _families(registry):
            if (row := catalogue.get(name)) is not None and row.cluster:
                raise WriterError(name, "is a family of clusters, the process's registry must not expose it too")
        self._writer = Writer()
        self._headers: dict[str, _Text] = {}
        self._lock = Lock()
        self._state = _State({}, {None: _View((), {})})

    def publish(self, cluster: str, blocks: Mapping[str, Sequence[Block]]) -> None:
        """Replaces everything the page shows of this cluster; ``blocks`` are by collector, and none at all takes the cluster off the page.

        Blocks whose label sets are the same object and whose values are equal are not rendered again. Raises WriterError, and changes nothing, for a metric
        that the catalogue does not have, that belongs to the registry, or whose labels are not the catalogue's.
        """
        by_name = self._grouped(blocks)
        with self._lock:
            before = self._state
            known = before.clusters.get(cluster, {})
            lines = {name: self._rendered(cluster, name, parts, known.get(name, ())) for name, parts in by_name.items()}
            clusters = {name: families for name, families in before.clusters.items() if name != cluster}
            if lines:
                clusters[cluster] = lines
            self._state = self._assembled(clusters, before)

    def render(self, accept_encoding: str, cluster: str | None = None) -> tuple[Mapping[str, str], Iterable[bytes]]:
        """Headers and body of one scrape, of one cluster or of all; only the page of all ends with the process's own metrics.

        The body is one gzip stream of several members if ``accept_encoding`` (the request's header) allows it.
        """
        view = self._view(cluster)
        own = generate_latest(self._registry) if self._registry is not None and cluster is None else b""
        headers = {"content-type": CONTENT_TYPE, "vary": "accept-encoding"}
        if not gzip_accepted(accept_encoding):
            return headers, _Body(view.texts, _plain, own)
        last = _pack(own) if own or not view.texts else b""
        return {**headers, "content-encoding": "gzip"}, _Body(view.texts, _packed, last)

    # --- publishing

    def _grouped(self, blocks: Mapping[str, Sequence[Block]]) -> dict[str, list[Block]]:
        by_name: dict[str, list[Block]] = {}
        for of_collector in blocks.values():
            for block in of_collector:
                check(self._row(block.metric), block)
                if len(block.labels):
                    by_name.setdefault(block.metric, []).append(block)
        return by_name

    def _row(self, name: str) -> MetricRow:
        row = self._catalogue.get(name)
        if row is None:
            raise WriterError(name, "is not in the catalogue")
        if not row.cluster:
            raise WriterError(name, "is about the process: it belongs to the registry, not to a cluster")
        return row

    def _rendered(
        self, cluster: str, name: str, blocks: Sequence[Block], before: Sequence[_Lines]
    ) -> tuple[_Lines, ...]:
        known = {lines.block.labels: lines for lines in before}
        return tuple(
            lines
            if (lines := known.get(block.labels)) is not None and _same(lines.block, block)
            else _Lines(
                block, tuple(_Text(chunk) for chunk in self._writer.render(self._catalogue[name], cluster, block))
            )
            for block in blocks
        )

    def _assembled(self, clusters: dict[str, Families], before: _State) -> _State:
        older = {shown: view.runs for shown, view in before.views.items()}
        return _State(clusters, {None: self._viewed(clusters, older.get(None, {}))}, older)

    def _view(self, cluster: str | None) -> _View:
        """The view of one cluster is put together when it is first asked for after a publish."""
        state = self._state
        view = state.views.get(cluster)
        if view is None:
            of_cluster = {name: families for name, families in state.clusters.items() if name == cluster}
            view = self._viewed(of_cluster, state.older.get(cluster, {}))
            state.views[cluster] = view
        return view

    def _viewed(self, clusters: Mapping[str, Families], known: Runs) -> _View:
        texts: list[_Text] = []
        runs: Runs = {}
        for run in _runs(self._in_order(clusters)):
            if len(run) == 1:
                text = run[0]
            else:
                text = runs[run] = known.get(run) or _Text(b"".join([part.plain for part in run]))
            text.pack()
            texts.append(text)
        return _View(tuple(texts), runs)

    def _in_order(self, clusters: Mapping[str, Families]) -> Iterator[_Text]:
        present = {name for families in clusters.values() for name in families}
        ordered = sorted(clusters.items())
        for name in self._catalogue:
            if name in present:
                yield self._header(name)
                for _, families in ordered:
                    for lines in families.get(name, ()):
                        yield from lines.chunks

    def _header(self, name: str) -> _Text:
        text = self._headers.get(name)
        if text is None:
            text = self._headers.setdefault(name, _Text(header(self._catalogue[name])))
        return text


def gzip_accepted(accept_encoding: str) -> bool:
    """Whether the header of a request allows gzip (RFC 9110: a weight of 0 forbids it)."""
    for part in accept_encoding.lower().split(","):
        coding, *parameters = (piece.strip() for piece in part.split(";"))
        if coding in ("gzip", "x-gzip"):
            weights = [p.partition("=")[2].strip() for p in parameters if p.partition("=")[0].strip() == "q"]
            return not weights or any(character in "123456789" for character in weights[0])
    return False


class _Text:
    """Some bytes of the page, equal by identity. Large ones are only kept as their gzip member; small ones as they are, since neighbours join them to one member."""

    __slots__ = ("_packed", "_plain", "size")

    def __init__(self, plain: bytes) -> None:
        self.size = len(plain)
        self._plain = None if self.large else plain
        self._packed = _pack(plain) if self.large else None

    @property
    def large(self) -> bool:
        return self.size >= _OWN_MEMBER_FROM

    @property
    def plain(self) -> bytes:
        return self._plain if self._plain is not None else _unpack(self.packed)

    @property
    def packed(self) -> bytes:
        return self._packed if self._packed is not None else self.pack()

    def pack(self) -> bytes:
        if self._packed is None:
            self._packed = _pack(self.plain)
        return self._packed


@dataclass(frozen=True, slots=True, eq=False)
class _Lines:
    """A block and what was rendered of it."""

    block: Block
    chunks: tuple[_Text, ...]


Families = Mapping[str, tuple[_Lines, ...]]
Runs = dict[tuple[_Text, ...], _Text]


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """The page of all clusters or of one: its texts in order, and which of them were joined from which."""

    texts: tuple[_Text, ...]
    runs: Runs


@dataclass(frozen=True, slots=True, eq=False)
class _State:
    clusters: Mapping[str, Families]
    views: dict[str | None, _View]
    older: Mapping[str | None, Runs] = field(default_factory=dict)
    """What was joined in the state before: what did not change is taken over."""


class _Body:
    """The chunks of an answer, each made when its turn comes, without empty ones; can be gone through again."""

    def __init__(self, texts: Sequence[_Text], made: Callable[[_Text], bytes], last: bytes) -> None:
        self._texts = texts
        self._made = made
        self._last = last

    def __iter__(self) -> Iterator[bytes]:
        yield from map(self._made, self._texts)
        if self._last:
            yield self._last


_plain: Callable[[_Text], bytes] = attrgetter("plain")
_packed: Callable[[_Text], bytes] = attrgetter("packed")


def _families(registry: CollectorRegistry | None) -> Iterator[str]:
    for metric in registry.collect() if registry is not None else ():
        yield f"{metric.name}_total" if metric.type == "counter" else metric.name


def _runs(texts: Iterable[_Text]) -> Iterator[tuple[_Text, ...]]:
    """Neighbours that share a gzip member: large texts stay alone, small ones are joined."""
    run: list[_Text] = []
    size = 0
    for text in texts:
        if run and (text.large or size >= _RUN_UP_TO):
            yield tuple(run)
            run, size = [], 0
        if text.large:
            yield (text,)
        else:
            run.append(text)
            size += text.size
    if run:
        yield tuple(run)


def _same(before: Block, block: Block) -> bool:
    """Whether both print the same lines, given the same label sets (NaN is compared by its bits, which is as good)."""
    a, b = before.values, block.values
    return a is b or (a.dtype == b.dtype and bool(np.array_equal(a.view(np.int64), b.view(np.int64))))


def _unpack(packed: bytes) -> bytes:
    plain: bytes = igzip.decompress(packed)
    return plain


def _pack(plain: bytes) -> bytes:
    packed: bytes = igzip.compress(plain, _LEVEL, mtime=0)
    return packed
