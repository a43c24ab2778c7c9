"""The fast writer: a block's samples as lines of the Prometheus text format 0.0.4, byte for byte what prometheus-client prints.

The labels of a block are laid out once as a text with a ``%s`` for every value, and filled again while its label sets last. Work is cut into slices
so that no single call holds the interpreter for more than a few milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import chain, compress, islice
from threading import Lock
from typing import Any, Final
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from exporter.blocks import Block, LabelSets
from exporter.metrics.catalogue import MetricRow, MetricType

LINES_PER_CHUNK: Final = 3_000
"""What one call fills in, about 250 kB: it stays in the processor's cache, which takes a third less than 10,000 lines, and holds the interpreter for half a millisecond."""
_SLICE = 1_500
"""Numbers that one call turns into text."""

_FEW: Final = 32
"""So few numbers are quicker one by one: most families of JMX have three."""

_SMALL: Final[npt.NDArray[Any]] = np.array([f"{number}.0" for number in range(4_096)], dtype=object)
"""Small whole numbers as text: most values are 0, 1 or a count."""
_PLAIN_BELOW: Final = 1_000_000
"""Positive numbers from here on are printed with an exponent, as Go does."""
_EXACT_BELOW: Final = 2**53
_THOUSANDTHS_BELOW: Final = 10**15
"""Decimals of so many digits are told apart by float64, so what reads back as one of them has no shorter text."""
_POWERS: Final = 10 ** np.arange(1, 19, dtype=np.int64)


class WriterError(ValueError):
    """A block that does not fit its row of the catalogue; ``metric`` is its name."""

    def __init__(self, metric: str, reason: str) -> None:
        super().__init__(f"metric {metric}: {reason}")
        self.metric = metric
        self.reason = reason


class Writer:
    """Turns blocks into bytes and keeps the laid-out labels of every LabelSets that is still in use."""

    def __init__(self) -> None:
        self._templates: WeakKeyDictionary[LabelSets, dict[str | None, list[str]]] = WeakKeyDictionary()
        self._lock = Lock()

    def render(self, row: MetricRow, cluster: str | None, block: Block) -> Iterator[bytes]:
        """The block's lines in chunks of at most LINES_PER_CHUNK, each made when it is asked for; without samples no chunk.

        ``cluster`` is the value of the label of that name, None for families without it. Raises WriterError if the block's labels are not the row's.
        """
        check(row, block)
        templates = self._laid_out(block.labels, cluster)
        starts = range(0, len(block.labels), LINES_PER_CHUNK)
        return (
            _filled(row.name, template, block.values[start : start + LINES_PER_CHUNK])
            for template, start in zip(templates, starts, strict=True)
        )

    def _laid_out(self, labels: LabelSets, cluster: str | None) -> list[str]:
        with self._lock:
            of_labels = self._templates.setdefault(labels, {})
        templates = of_labels.get(cluster)
        if templates is None:
            templates = self._chosen(labels, cluster)
            of_labels[cluster] = templates = _templates(labels, cluster) if templates is None else templates
        return templates

    def _chosen(self, labels: LabelSets, cluster: str | None) -> list[str] | None:
        """The lines out of those of the label sets that these were chosen from, where they are laid out: a tenth of the work."""
        if labels.chosen_from is None:
            return None
        whole, mask = labels.chosen_from
        with self._lock:
            known = self._templates.get(whole, {}).get(cluster)
        if known is None:
            return None
        lines = chain.from_iterable(template[:-1].split("\n") for template in known)
        return _chunks(f"{line}\n" for line in compress(lines, mask.tolist()))


def header(row: MetricRow) -> bytes:
    """The HELP and TYPE lines. A counter goes by the name of its samples, as 0.0.4 wants it, be it an inherited one without ``_total``."""
    help_text = row.help.replace("\\", "\\\\").replace("\n", "\\n")
    return f"# HELP {row.name} {help_text}\n# TYPE {row.name} {row.type}\n".encode()


def openmetrics_header(row: MetricRow) -> bytes:
    """The HELP, TYPE and UNIT lines of OpenMetrics 1.0.0, which names a counter without its ``_total``; the samples are those of the text format.

    An inherited counter without ``_total`` is of type unknown, since OpenMetrics would have its samples renamed. The unit is told where the name ends with it.
    """
    counter = row.type is MetricType.COUNTER
    legal = counter and row.name.endswith("_total")
    family = row.name.removesuffix("_total") if legal else row.name
    help_text = row.help.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    lines = f"# HELP {family} {help_text}\n# TYPE {family} {'unknown' if counter and not legal else row.type}\n"
    if row.unit and family.endswith(f"_{row.unit}"):
        lines += f"# UNIT {family} {row.unit}\n"
    return lines.encode()


def check(row: MetricRow, block: Block) -> None:
    """Raises WriterError unless the block has the row's labels and a value per label set."""
    if block.metric != row.name:
        raise WriterError(block.metric, f"rendered as {row.name}")
    if block.labels.names != row.labels and sorted(block.labels.names) != sorted(row.labels):
        raise WriterError(row.name, f"has labels {_list(block.labels.names)}; the catalogue says {_list(row.labels)}")
    if block.values.shape != (len(block.labels),):
        raise WriterError(row.name, f"has {block.values.shape} values for {len(block.labels)} label sets")
    if block.values.dtype not in (np.int64, np.float64):
        raise WriterError(row.name, f"has values of type {block.values.dtype}; int64 or float64 are right")


def _list(names: Sequence[str]) -> str:
    return f"({', '.join(names)})"


# --- labels -------------------------------------------------------------------------------------------------------------------------------


def _templates(labels: LabelSets, cluster: str | None) -> list[str]:
    """Everything of the lines but the metric's name, which one line break each is replaced by (values have none: they are escaped)."""
    names = sorted([*labels.names, *(["cluster"] if cluster is not None else [])])
    layout = ("{" + ",".join(f'{name}="%s"' for name in names) + "}" if names else "") + " %%s\n"
    places = [labels.names.index(name) if name != "cluster" or cluster is None else -1 for name in names]
    constant = _escaped(cluster or "")
    known: dict[str, str] = {}

    def escaped(value: str) -> str:
        text = known.get(value)
        if text is None:
            text = known[value] = _escaped(value)
        return text

    return _chunks(
        layout % tuple([constant if p < 0 else escaped(values[p]) for p in places]) for values in labels.rows
    )


def _chunks(lines: Iterator[str]) -> list[str]:
    """Joined as they come: all lines of a large family apart are many times their text."""
    return list(iter(lambda: "".join(islice(lines, LINES_PER_CHUNK)), ""))


def _escaped(value: str) -> str:
    """As the format wants label values, and with ``%`` doubled for the template."""
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"').replace("%", "%%")


def _filled(name: str, template: str, values: npt.NDArray[Any]) -> bytes:
    # A name that is no UTF-8 (a lone surrogate) must cost its own label, not the page.
    body = (template % tuple(go_numbers(values))).encode("utf-8", errors="replace")
    prefix = name.encode()
    return prefix + body[:-1].replace(b"\n", b"\n" + prefix) + b"\n"


# --- numbers ------------------------------------------------------------------------------------------------------------------------------


def go_numbers(values: npt.NDArray[Any]) -> list[str]:
    """Every value as prometheus-client's ``floatToGoString`` prints it."""
    texts: list[str] = []
    for start in range(0, len(values), _SLICE):
        texts += _slice(values[start : start + _SLICE].astype(np.float64))
    return texts


def _slice(floats: npt.NDArray[np.float64]) -> list[str]:
    if len(floats) <= _FEW:
        return [_one(number) for number in floats.tolist()]
    ordinary = (floats >= 0) & (floats < _EXACT_BELOW) & ~np.signbit(floats)
    whole = np.where(ordinary, floats, 0).astype(np.int64)
    integral = ordinary & (whole == floats)
    small = integral & (whole < len(_SMALL))
    if small.all():
        return _SMALL[whole].tolist()  # type: ignore[no-any-return]
    large = integral & (whole >= _PLAIN_BELOW)
    others = ~(small | large)
    texts = _SMALL[np.where(small, whole, 0)]
    if large.any():
        texts[large] = _with_exponent(whole[large], floats[large])
    if others.any():
        others = _thousandths(floats, others, texts)
        texts[others] = [_one(number) for number in floats[others].tolist()]
    return texts.tolist()  # type: ignore[no-any-return]


def _thousandths(
    floats: npt.NDArray[np.float64], others: npt.NDArray[np.bool_], texts: npt.NDArray[Any]
) -> npt.NDArray[np.bool_]:
    """Writes the text of those others that have at most three decimals, as seconds taken from milliseconds do; gives those that are left."""
    thousandths = np.rint(np.where(others & (floats > 0) & (floats < _THOUSANDTHS_BELOW / 1000), floats, 0) * 1000)
    exact = (thousandths > 0) & (thousandths / 1000 == floats)
    large = exact & (floats >= _PLAIN_BELOW)
    if large.any():
        texts[large] = _with_exponent(thousandths[large].astype(np.int64), floats[large])
    plain = exact & ~large
    if plain.any():
        digits = thousandths[plain].astype(np.int64)
        decimals = np.where(digits % 10, 3, np.where(digits % 100, 2, 1))
        texts[plain] = _printed("%.*f ", decimals, floats[plain])
    rest: npt.NDArray[np.bool_] = others & ~exact
    return rest


def _with_exponent(digits: npt.NDArray[np.int64], numbers: npt.NDArray[np.float64]) -> list[str]:
    """Numbers as ``1.234e+06``: all their digits, given as a whole number, but trailing zeros, which is the shortest text that reads back as the same."""
    precision = np.searchsorted(_POWERS, digits, side="right")
    rest, places = digits.copy(), np.arange(len(digits))
    while len(places):
        quotient, remainder = np.divmod(rest[places], 10)
        ends_in_zero = remainder == 0
        places = places[ends_in_zero]
        rest[places] = quotient[ends_in_zero]
        precision[places] -= 1
    return _printed("%.*e ", precision, numbers)


def _printed(format: str, precision: npt.NDArray[Any], numbers: npt.NDArray[np.float64]) -> list[str]:
    arguments: list[Any] = [None] * (2 * len(numbers))
    arguments[::2], arguments[1::2] = precision.tolist(), numbers.tolist()
    return (format * len(numbers) % tuple(arguments)).split()


def _one(number: float) -> str:
    text = repr(number)
    if number < _PLAIN_BELOW:  # negative ones too: prometheus-client never switches these
        return text if number != -math.inf else "-Inf"
    if number == math.inf:
        return "+Inf"
    if math.isnan(number):
        return "NaN"
    dot = text.find(".")
    if dot <= 6:
        return text
    mantissa = f"{text[0]}.{text[1:dot]}{text[dot + 1 :]}".rstrip("0.")
    return f"{mantissa}e+{dot - 1:02d}"
