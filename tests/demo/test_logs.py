"""The end of a node's log names the cause although the shutdown's noise comes after it."""

from __future__ import annotations

from pathlib import Path

from demo import logs

INFO = "[2026-11-25 03:06:10,593] INFO [SharedServer id=1] Stopping SharedServer (kafka.server.SharedServer)"
ERROR = (
    "[2026-11-25 03:06:09,101] ERROR [BrokerServer id=1] Fatal error during broker startup (kafka.server.BrokerServer)"
)
STACK = ["java.net.BindException: Address already in use", *[f"\tat frame{n}" for n in range(40)]]


def test_the_error_above_the_noise_is_shown_with_the_beginning_of_its_stack() -> None:
    shown = logs.summary([INFO, ERROR, *STACK, *[INFO] * 200]).splitlines()
    assert shown[:2] == [ERROR, STACK[0]]
    assert shown.count(INFO) == logs.TAIL_LINES
    assert len(shown) == logs.LINES_PER_ERROR + logs.TAIL_LINES


def test_only_the_last_errors_are_shown() -> None:
    errors = [f"{ERROR} {n}" for n in range(5)]
    assert logs.summary([*errors, *[INFO] * 50]).splitlines()[: logs.ERRORS] == errors[-logs.ERRORS :]


def test_an_error_within_the_last_lines_is_shown_once() -> None:
    assert logs.summary([INFO, ERROR]).splitlines() == [INFO, ERROR]


def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert logs.read(tmp_path / "none") == []
