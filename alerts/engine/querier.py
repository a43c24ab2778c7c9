"""The one small port behind which expressions are evaluated: on our own history today, on a Prometheus tomorrow."""

from __future__ import annotations

from typing import Protocol

from alerts.promql.syntax import Expr
from alerts.promql.values import Value


class Querier(Protocol):
    """Answers an expression at one moment (Unix seconds); raises QueryError where there is no answer."""

    def evaluate(self, expr: Expr, at: float) -> Value: ...
