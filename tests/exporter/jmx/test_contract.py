"""The contract on every transport: jpype and jmxquery against small Java machines, prometheus against a recorded page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exporter.jmx.catalogue import shipped
from exporter.jmx.jmxquery_transport import JmxQueryTransport
from exporter.jmx.jpype_transport import JpypeTransport
from exporter.jmx.prometheus_transport import PrometheusTransport
from exporter.jmx.transport import JmxTransport
from tests.exporter.jmx.agent import FakeAgent, running
from tests.exporter.jmx.contract import PASSWORD, USER, JmxPasswordContract
from tests.exporter.jmx.java import java_with_jmx, set_password, with_password


@pytest.fixture(scope="module")
def java() -> Iterator[str]:
    with java_with_jmx() as (_, port):
        yield f"127.0.0.1:{port}"


class _OverRmi(JmxPasswordContract):
    @pytest.fixture
    def address(self, java: str) -> str:
        return java

    @pytest.fixture
    def locked(self, tmp_path: Path) -> Iterator[tuple[str, Callable[[str], None]]]:
        flags = (*with_password(tmp_path, USER, PASSWORD), "-Dcom.sun.management.jmxremote.ssl=false")
        with java_with_jmx(flags=flags) as (_, port):
            yield f"127.0.0.1:{port}", lambda password: set_password(tmp_path, USER, password)


class TestJpype(_OverRmi):
    @pytest.fixture
    def transport(self) -> Iterator[JmxTransport]:
        made = JpypeTransport()
        yield made
        made.close()


class TestJmxQuery(_OverRmi):
    @pytest.fixture
    def transport(self) -> Iterator[JmxTransport]:
        made = JmxQueryTransport()
        yield made
        made.close()


class TestPrometheus(JmxPasswordContract):
    @pytest.fixture
    def transport(self) -> Iterator[JmxTransport]:
        made = PrometheusTransport(shipped())
        yield made
        made.close()

    @pytest.fixture
    def address(self) -> Iterator[str]:
        with running(FakeAgent()) as agent:
            yield f"127.0.0.1:{agent.port}"

    @pytest.fixture
    def locked(self) -> Iterator[tuple[str, Callable[[str], None]]]:
        with running(FakeAgent()) as agent:
            agent.user = (USER, PASSWORD)

            def change(password: str) -> None:
                agent.user = (USER, password)

            yield f"127.0.0.1:{agent.port}", change


del _OverRmi, JmxPasswordContract
