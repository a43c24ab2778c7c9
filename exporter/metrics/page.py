"""The metrics page: every family's lines rendered and compressed when they are published, so that a scrape only joins what lies ready.

What is kept is compressed, which takes a twentieth of the text. Prometheus asks for just that; for the rare scrape that wants plain text it is unpacked part by part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from exporter.blocks import Block, LabelSets
from exporter.metrics.catalogue import MetricRow
from exporter.metrics.gzip_member import Packed, member, pack, unpack
from exporter.metrics.negotiation import Format, gzip_accepted, negotiated
from exporter.metrics.subsets import Subsets
from exporter.metrics.writer import Writer, WriterError, check, header, openmetrics_header

_APART_FROM: Final = 16 * 1024
"""Bytes from which lines are compressed apart; smaller ones are compressed together with their neighbours."""
_RUN_UP_TO: Final = 64 * 1024
_EOF: Final = b"# EOF\n"

NO_BROKER: Final = "none"
"""Asks for the series that are of no one broker."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a scrape wants: one cluster or all, in it the series of one broker (its node id), those of none (NO_BROKER), or all."""

    cluster: str | None = None
    broker: str | None = None

    @property
    def whole(self) -> bool:
        return self == EVERYTHING


EVERYTHING: Final = Scope()


class Page:
    """What ``/metrics`` shows. ``publish`` and ``render`` may be called from any thread; a scrape sees one state of all clusters, never half of a publish.

    A family stands once on the page, the lines of all clusters together, in the catalogue's order. The process's own registry comes last, read at each scrape.
    The page of everything as text is put together when it is published; every other one when it is first asked for after that. Both formats share the
    rendered lines, since only the lines above them differ.
    """

    def __init__(self, catalogue: Mapping[str, MetricRow], registry: CollectorRegistry | None = None) -> None:
        """Raises WriterError if the registry has a family that the catalogue has for clusters: it would stand twice on the page."""
        self._catalogue = catalogue
        self._registry = registry
        for name in _families(registry):
            if (row := catalogue.get(name)) is not None and row.cluster:
                raise WriterError(name, "is a family of clusters, the process's registry must not expose it too")
        self._writer = Writer()
        self._subsets = Subsets()
        self._headers: dict[tuple[Format, str], _Text] = {}
        self._lock = Lock()
        self._state = _State({}, {_READY: _View((), {})})

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

    def render(
        self, accept_encoding: str, scope: Scope = EVERYTHING, accept: str = ""
    ) -> tuple[Mapping[str, str], Iterable[bytes]]:
        """Headers and body of one scrape; only the page of everything ends with the process's own metrics.

        ``accept`` and ``accept_encoding`` are the request's headers: the body is OpenMetrics or text, gzip if that is allowed.
        """
        format = negotiated(accept)
        view = self._view(_Key(scope, format))
        return _answer(accept_encoding, format, view.texts, self._own(format) if scope.whole else _end(format))

    def render_own(self, accept_encoding: str, accept: str = "") -> tuple[Mapping[str, str], Iterable[bytes]]:
        """The process's own metrics alone."""
        format = negotiated(accept)
        return _answer(accept_encoding, format, (), self._own(format))

    def _own(self, format: Format) -> bytes:
        """What the registry says now, with the end of the page."""
        if self._registry is None:
            return _end(format)
        if format is Format.TEXT:
            return generate_latest(self._registry)
        own: bytes = openmetrics.generate_latest(self._registry)  # type: ignore[no-untyped-call]
        return own

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
            else self._lines(cluster, block)
            for block in blocks
        )

    def _lines(self, cluster: str, block: Block) -> _Lines:
        # One chunk at a time: as plain text a large family is tens of megabytes.
        chunks = map(_Text, self._writer.render(self._catalogue[block.metric], cluster, block))
        return _Lines(block, tuple(chunks))

    def _assembled(self, clusters: dict[str, Families], before: _State) -> _State:
        older = {key: view.runs for key, view in before.views.items()}
        return _State(clusters, {_READY: self._viewed(clusters, Format.TEXT, older.get(_READY, {}))}, older)

    def _view(self, key: _Key) -> _View:
        """Views that are not ready are put together when they are first asked for after a publish."""
        state = self._state
        view = state.views.get(key)
        if view is None:
            view = self._viewed(self._within(key.scope, state.clusters), key.format, state.older.get(key, {}))
            state.views[key] = view
        return view

    def _viewed(self, clusters: Mapping[str, Families], format: Format, known: Runs) -> _View:
        texts: list[_Text] = []
        runs: Runs = {}
        for run in _runs(self._in_order(clusters, format)):
            if len(run) == 1:
                text = run[0]
            else:
                text = runs[run] = known.get(run) or _Text(b"".join([part.plain for part in run]))
            text.pack()
            texts.append(text)
        return _View(tuple(texts), runs)

    def _in_order(self, clusters: Mapping[str, Families], format: Format) -> Iterator[_Text]:
        present = {
            name for families in clusters.values() for name, of in families.items() if any(one.chunks for one in of)
        }
        ordered = sorted(clusters.items())
        for name in self._catalogue:
            if name in present:
                yield self._header(name, format)
                for _, families in ordered:
                    for lines in families.get(name, ()):
                        yield from lines.chunks

    def _header(self, name: str, format: Format) -> _Text:
        text = self._headers.get((format, name))
        if text is None:
            made = openmetrics_header if format is Format.OPENMETRICS else header
            text = self._headers.setdefault((format, name), _Text(made(self._catalogue[name])))
        return text

    # --- parts of the page

    def _within(self, scope: Scope, clusters: Mapping[str, Families]) -> Mapping[str, Families]:
        """What of the clusters is in the scope."""
        chosen = {name: found for name, found in clusters.items() if scope.cluster in (None, name)}
        if scope.broker is None:
            return chosen
        return {
            cluster: {name: self._of_broker(cluster, lines, scope.broker) for name, lines in families.items()}
            for cluster, families in chosen.items()
        }

    def _of_broker(self, cluster: str, lines: Sequence[_Lines], broker: str) -> tuple[_Lines, ...]:
        """The lines of one broker, or those of families without the label."""
        if broker == NO_BROKER:
            return tuple(one for one in lines if "broker" not in one.block.labels.names)
        own = ((one, one.of_broker.get(broker)) for one in lines if "broker" in one.block.labels.names)
        return tuple(
            known or one.of_broker.setdefault(broker, self._lines(cluster, self._some(one.block, broker)))
            for one, known in own
        )

    def _some(self, block: Block, broker: str) -> Block:
        return self._subsets.of(block, broker, lambda labels: _rows_of(labels, broker))


def _rows_of(labels: LabelSets, broker: str) -> list[int]:
    place = labels.names.index("broker")
    return [i for i, row in enumerate(labels.rows) if row[place] == broker]


def _end(format: Format) -> bytes:
    """What a page without the registry ends with."""
    return _EOF if format is Format.OPENMETRICS else b""


def _answer(
    accept_encoding: str, format: Format, texts: Sequence[_Text], last: bytes
) -> tuple[Mapping[str, str], Iterable[bytes]]:
    """Headers and body from what lies ready and from what was made for this scrape."""
    headers = {"content-type": str(format), "vary": "accept, accept-encoding"}
    if not gzip_accepted(accept_encoding):
        return headers, _Plain(texts, last)
    parts = [text.packed for text in texts]
    return {**headers, "content-encoding": "gzip"}, member([*parts, pack(last)] if last else parts)


class _Text:
    """Some bytes of the page, equal by identity. Large ones are only kept compressed; small ones as they are, since neighbours are joined and compressed as one."""

    __slots__ = ("_packed", "_plain", "size")

    def __init__(self, plain: bytes) -> None:
        self.size = len(plain)
        self._plain = None if self.large else plain
        self._packed = pack(plain) if self.large else None

    @property
    def large(self) -> bool:
        return self.size >= _APART_FROM

    @property
    def plain(self) -> bytes:
        return self._plain if self._plain is not None else unpack(self.packed)

    @property
    def packed(self) -> Packed:
        return self._packed if self._packed is not None else self.pack()

    def pack(self) -> Packed:
        if self._packed is None:
            self._packed = pack(self.plain)
        return self._packed


@dataclass(frozen=True, slots=True, eq=False)
class _Lines:
    """A block and what was rendered of it, whole and by broker."""

    block: Block
    chunks: tuple[_Text, ...]
    of_broker: dict[str, _Lines] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Key:
    scope: Scope
    format: Format


_READY: Final = _Key(EVERYTHING, Format.TEXT)
"""The view that every publish puts together."""

Families = Mapping[str, tuple[_Lines, ...]]
Runs = dict[tuple[_Text, ...], _Text]


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """A page or a part of one: its texts in order, and which of them were joined from which."""

    texts: tuple[_Text, ...]
    runs: Runs


@dataclass(frozen=True, slots=True, eq=False)
class _State:
    clusters: Mapping[str, Families]
    views: dict[_Key, _View]
    older: Mapping[_Key, Runs] = field(default_factory=dict)
    """What was joined in the state before: what did not change is taken over."""


class _Plain:
    """An answer as it is, each text unpacked when its turn comes; can be gone through again."""

    def __init__(self, texts: Sequence[_Text], last: bytes) -> None:
        self._texts = texts
        self._last = last

    def __iter__(self) -> Iterator[bytes]:
        for text in self._texts:
            yield text.plain
        if self._last:
            yield self._last


def _families(registry: CollectorRegistry | None) -> Iterator[str]:
    for metric in registry.collect() if registry is not None else ():
        yield f"{metric.name}_total" if metric.type == "counter" else metric.name


def _runs(texts: Iterable[_Text]) -> Iterator[tuple[_Text, ...]]:
    """Neighbours that are compressed as one: large texts stay alone, small ones are joined."""
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
