"""The typed tree of an expression: frozen nodes without parentheses, compared by value."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from exporter.series import METRIC_NAME, Matcher


class ValueType(Enum):
    """What an expression evaluates to, in Prometheus's words."""

    SCALAR = "scalar"
    STRING = "string"
    VECTOR = "instant vector"
    MATRIX = "range vector"


@dataclass(frozen=True, slots=True)
class Number:
    value: float


@dataclass(frozen=True, slots=True)
class String:
    value: str


class Edge(Enum):
    """The query's own first or last moment, as ``@`` names it; both are the moment of evaluation in an instant query."""

    START = "start"
    END = "end"


At: TypeAlias = int | Edge | None
"""The moment that ``@`` sets, Unix milliseconds or an edge of the query; None without ``@``."""


@dataclass(frozen=True, slots=True)
class Selector:
    """Series at one moment, or over a window when ``range_ms`` is not 0.

    The metric's name is a matcher like the others, the first one where it is given by ``=``. A positive offset looks back, from ``at`` where that is given.
    """

    matchers: tuple[Matcher, ...]
    range_ms: int = 0
    offset_ms: int = 0
    at: At = None

    @property
    def name(self) -> str | None:
        """The one metric that this selects, or None where a regular expression or several matchers decide."""
        named = [m for m in self.matchers if m.name == METRIC_NAME and m.op == "="]
        return named[0].value if named else None


DEFAULT_STEP_MS: Final = 60_000
"""The step of a subquery that names none: Prometheus's default evaluation interval."""


@dataclass(frozen=True, slots=True)
class Subquery:
    """``operand[range:step]``: the operand at every multiple of the step since 1970 inside the window; ``step_ms`` 0 is the default step."""

    operand: Expr
    range_ms: int
    step_ms: int = 0
    offset_ms: int = 0
    at: At = None

    @property
    def resolution_ms(self) -> int:
        """How far apart the steps are."""
        return self.step_ms or DEFAULT_STEP_MS


@dataclass(frozen=True, slots=True)
class Negation:
    operand: Expr


@dataclass(frozen=True, slots=True)
class Aggregation:
    """``op by|without (labels) (param, operand)``; no clause is ``by ()``."""

    op: str
    operand: Expr
    param: Expr | None = None
    labels: tuple[str, ...] = ()
    without: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    function: str
    args: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Matching:
    """How two vectors find each other. ``many`` names the side of group_left or group_right; ``include`` are the labels to copy from the other."""

    on: bool = False
    labels: tuple[str, ...] = ()
    many: str | None = None
    include: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Binary:
    op: str
    left: Expr
    right: Expr
    matching: Matching = Matching()
    returns_bool: bool = False


Expr: TypeAlias = Number | String | Selector | Subquery | Negation | Aggregation | Call | Binary

COMPARISONS: Final = ("==", "!=", ">", "<", ">=", "<=")
SET_OPERATORS: Final = ("and", "or", "unless")
PRECEDENCE: Final = {
    "or": 1,
    "and": 2,
    "unless": 2,
    **dict.fromkeys(COMPARISONS, 3),
    "+": 4,
    "-": 4,
    "*": 5,
    "/": 5,
    "%": 5,
    "atan2": 5,
    "^": 6,
}
"""Binary operators from the loosest to the tightest; ``^`` groups to the right, all others to the left."""

AGGREGATIONS: Final = frozenset(
    "sum min max avg count group stddev stdvar topk bottomk quantile count_values".split()  # noqa: SIM905 - a list of words reads best so
)
RANGE_FUNCTIONS: Final = frozenset(
    "rate increase irate delta idelta deriv predict_linear changes resets absent_over_time avg_over_time min_over_time max_over_time "  # noqa: SIM905
    "sum_over_time count_over_time first_over_time last_over_time stddev_over_time stdvar_over_time quantile_over_time present_over_time".split()
)
SCALAR_FUNCTIONS: Final = frozenset({"scalar", "time", "pi"})
FUNCTIONS: Final = (
    RANGE_FUNCTIONS
    | SCALAR_FUNCTIONS
    | frozenset(
        "absent abs ceil floor round exp ln log2 log10 sqrt sgn deg rad sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh "  # noqa: SIM905
        "clamp clamp_min clamp_max vector timestamp minute hour day_of_week day_of_month day_of_year days_in_month month year "
        "label_replace label_join sort sort_desc histogram_quantile histogram_fraction".split()
    )
)


def children(expr: Expr) -> tuple[Expr, ...]:
    """The expressions directly inside this one, in the order of the text."""
    if isinstance(expr, Negation | Subquery):
        return (expr.operand,)
    if isinstance(expr, Aggregation):
        return (expr.operand,) if expr.param is None else (expr.param, expr.operand)
    if isinstance(expr, Call):
        return expr.args
    if isinstance(expr, Binary):
        return (expr.left, expr.right)
    return ()


def value_type(expr: Expr) -> ValueType:
    """What a well-typed expression evaluates to."""
    if isinstance(expr, Number):
        return ValueType.SCALAR
    if isinstance(expr, String):
        return ValueType.STRING
    if isinstance(expr, Selector):
        return ValueType.MATRIX if expr.range_ms else ValueType.VECTOR
    if isinstance(expr, Subquery):
        return ValueType.MATRIX
    if isinstance(expr, Negation):
        return value_type(expr.operand)
    if isinstance(expr, Call):
        return ValueType.SCALAR if expr.function in SCALAR_FUNCTIONS else ValueType.VECTOR
    if isinstance(expr, Binary) and value_type(expr.left) == value_type(expr.right) == ValueType.SCALAR:
        return ValueType.SCALAR
    return ValueType.VECTOR
