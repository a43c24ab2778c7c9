"""Reading a store for one query: each selector once for all moments, subqueries at steps of their own that moments share."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final

from alerts.promql.batch import Batch, Vec
from alerts.promql.syntax import Edge, Selector, Subquery
from alerts.promql.values import Times
from alerts.promql.windows import Columns, Windows, stacked
from exporter.label_table import LabelRows, LabelTable, LatestStore
from exporter.series import Labels, SeriesStore

_BATCHES_KEPT: Final = 1024


class Reader:
    """A store with the look-back of instant selectors; remembers the label sets of each selector from query to query."""

    def __init__(self, store: SeriesStore, lookback_ms: int) -> None:
        self.store = store
        self.latest = store if isinstance(store, LatestStore) else None
        """The store, if it answers instant selectors; asked once, since asking a Protocol takes longer than many an answer."""
        self.lookback_ms = lookback_ms
        self._batches: dict[Hashable, tuple[LabelTable, Batch]] = {}
        self._listed: dict[Hashable, Batch] = {}

    def batch(self, key: Hashable, rows: LabelRows) -> Batch:
        """The batch of what this key selects: of the root of the last time if the table is the same, whatever rows of it these are."""
        table, root = self._batches.get(key, (None, None))
        if root is None or table is not rows.table:
            if root is None or not root.table.same(rows.table):
                root = Batch(rows.table)
            if len(self._batches) >= _BATCHES_KEPT:
                self._batches.clear()
            self._batches[key] = rows.table, root
        return root if rows.index is None else root.take(rows.index)

    def listed(self, key: Hashable, labels: list[Labels]) -> Batch:
        """The batch of these label sets that this key selects: the one of the last time if they are the same."""
        known = self._listed.get(key)
        if known is None or known.labels != labels:
            if len(self._listed) >= _BATCHES_KEPT:
                self._listed.clear()
            known = self._listed[key] = Batch.of(labels)
        return known


class Source:
    """What a query, or the operand of a subquery, reads at the moments from first to last."""

    def __init__(self, reader: Reader, first_ms: int, last_ms: int, query: tuple[int, int] | None = None) -> None:
        """``query``: the first and last moment of the whole query, where that is another one."""
        self._reader = reader
        self._first_ms = first_ms
        self._last_ms = last_ms
        self._query = query or (first_ms, last_ms)
        self._columns: dict[Selector, Columns] = {}
        self._inner: dict[Subquery, InnerSteps] = {}

    def moment(self, node: Selector | Subquery, at_ms: int) -> int:
        """When a selector or subquery ends that is evaluated at a moment: ``@`` first, then the offset."""
        if isinstance(node.at, Edge):
            at_ms = self._query[0] if node.at is Edge.START else self._query[1]
        elif node.at is not None:
            at_ms = node.at
        return at_ms - node.offset_ms

    def _span(self, node: Selector | Subquery) -> tuple[int, int]:
        return self.moment(node, self._first_ms), self.moment(node, self._last_ms)

    def columns(self, selector: Selector) -> Columns:
        columns = self._columns.get(selector)
        if columns is None:
            first, last = self._span(selector)
            start = first - (selector.range_ms or self._reader.lookback_ms) + 1
            columns = self._columns[selector] = Columns(
                self._reader.store.select(selector.matchers, start, last),
                lambda labels: self._reader.listed(selector.matchers, labels),
                keep_stale=not selector.range_ms,
            )
        return columns

    def latest(self, selector: Selector, at_ms: int) -> tuple[Vec, Times]:
        """The newest samples at a moment and their own times."""
        store, lookback_ms = self._reader.latest, self._reader.lookback_ms
        end = self.moment(selector, at_ms)
        if self._first_ms == self._last_ms and store is not None:
            rows, values, timestamps = store.select_latest(selector.matchers, end, lookback_ms)
            return Vec(self._reader.batch(selector.matchers, rows), values), timestamps
        batch, values, timestamps = self.columns(selector).latest(end, lookback_ms)
        return Vec(batch, values), timestamps

    def window(self, selector: Selector, at_ms: int) -> Windows:
        """The samples of a range selector at a moment."""
        end = self.moment(selector, at_ms)
        return self.columns(selector).window(end - selector.range_ms, end)

    def inner(self, subquery: Subquery) -> InnerSteps:
        """The steps of a subquery, the same ones for all moments."""
        found = self._inner.get(subquery)
        if found is None:
            first, last = self._span(subquery)
            step = subquery.resolution_ms
            source = Source(self._reader, first_step(first - subquery.range_ms, step), last // step * step, self._query)
            found = self._inner[subquery] = InnerSteps(source, subquery, self._reader)
        return found


class InnerSteps:
    """The operand of a subquery at its steps; each is evaluated once, however many moments' windows it lies in."""

    def __init__(self, source: Source, subquery: Subquery, reader: Reader) -> None:
        self.source = source
        self._subquery = subquery
        self._reader = reader
        self._known: dict[int, Vec] = {}

    def window(self, end_ms: int, evaluate: Callable[[int], Vec]) -> Windows:
        """The operand's values at the steps in (end − range, end]; ``evaluate`` gives its vector at a step."""
        start_ms, step = end_ms - self._subquery.range_ms, self._subquery.resolution_ms
        steps = []
        for at_ms in range(first_step(start_ms, step), end_ms + 1, step):
            vec = self._known.get(at_ms)
            if vec is None:
                vec = self._known[at_ms] = evaluate(at_ms)
            steps.append((at_ms, vec))
        return stacked(steps, lambda rows: self._reader.batch(self._subquery, rows), start_ms, end_ms)


def first_step(after_ms: int, step_ms: int) -> int:
    """The first multiple of the step that is later than a moment."""
    return (after_ms // step_ms + 1) * step_ms
