"""What every JMX transport promises, run on each of them: against small endpoints quickly, and on real brokers."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exporter.jmx.access import Access
from exporter.jmx.catalogue import shipped
from exporter.jmx.errors import JmxChildDied, JmxConnectError, JmxConnectionLost, JmxDenied, JmxRefused, JmxTimeout
from exporter.jmx.transport import BeanValues, JmxAnswer, JmxTransport, Plan, Target
from tests.exporter.jmx.java import LIMIT_S, free_port

USER, PASSWORD = "klaxon", 'p"ass\\word'
_NAMES = (
    "java.lang:type=Memory",
    "java.lang:type=Threading",
    "java.lang:type=MemoryPool,name=*",
    "java.lang:type=GarbageCollector,name=*",
    "java.lang:type=Runtime",
)
PLAN = Plan(tuple(shipped().by_bean[name].request for name in _NAMES))


class JmxContract:
    """A subclass gives a transport, a healthy node, one that asks for a password, and how to change that."""

    deadline = 10.0

    @pytest.fixture
    def transport(self) -> Iterator[JmxTransport]:
        raise NotImplementedError
        yield

    @pytest.fixture
    def address(self) -> str:
        """A node that answers anybody."""
        raise NotImplementedError

    def read(self, transport: JmxTransport, *targets: Target, deadline: float | None = None) -> dict[int, JmxAnswer]:
        """The answers; however the targets are, none is late."""
        limit = self.deadline if deadline is None else deadline
        started = time.monotonic()
        answers = dict(transport.read(targets, limit))
        assert time.monotonic() - started < limit + 1
        assert set(answers) == {t.node for t in targets}
        return answers

    def healthy(self, transport: JmxTransport, address: str, access: Access | None = None) -> JmxAnswer:
        """The answer of a node that answers, once it does: its JMX opens before all of it is there, and Java may have to start."""
        target = Target(1, address, PLAN, access) if access is not None else Target(1, address, PLAN)
        end = time.monotonic() + LIMIT_S
        while True:
            answer = self.read(transport, target)[1]
            if answer.error is None or isinstance(answer.error, JmxDenied) or time.monotonic() > end:
                return answer
            time.sleep(0.1)

    def test_numbers_composites_and_patterns(self, transport: JmxTransport, address: str) -> None:
        answer = self.healthy(transport, address)
        assert answer.error is None and answer.failed == {} and answer.missing == ()
        assert answer.node == 1 and answer.address == address and answer.taken_at == pytest.approx(time.time(), abs=60)
        assert values(answer, "java.lang:type=Memory", "jvm_memory_used_bytes")[0] > 1e6
        assert values(answer, "java.lang:type=Threading", "jvm_threads_current")[0] >= 1
        assert values(answer, "java.lang:type=Runtime", "process_start_time_seconds")[0] > 1.7e12
        pools = {b.bean for b in answer.beans if b.request == "java.lang:type=MemoryPool,name=*"}
        assert "java.lang:name=Metaspace,type=MemoryPool" in pools and len(pools) > 3
        assert all(type(b) is BeanValues for b in answer.beans)
        order = [PLAN.beans.index(next(r for r in PLAN.beans if r.bean == b.request)) for b in answer.beans]
        assert order == sorted(order)

    def test_what_does_not_answer_is_told_apart_and_harms_nobody(self, transport: JmxTransport, address: str) -> None:
        assert self.healthy(transport, address).error is None
        refused = free_port()
        with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
            answers = self.read(
                transport,
                Target(1, address, PLAN),
                Target(2, f"127.0.0.1:{refused}", PLAN),
                Target(3, f"127.0.0.1:{silent.getsockname()[1]}", PLAN),
                Target(4, "no-such-host.invalid:1", PLAN),
                deadline=self.deadline,
            )
        assert answers[1].error is None and answers[1].beans
        assert isinstance(answers[2].error, JmxRefused) and f"node 2 (127.0.0.1:{refused}) JMX" in str(answers[2].error)
        assert isinstance(answers[3].error, JmxTimeout) and answers[3].error.kind == "timeout"
        assert isinstance(answers[4].error, (JmxConnectError, JmxTimeout))
        assert all(a.error.node == a.node for a in answers.values() if a.error is not None)
        assert not any(a.beans for a in answers.values() if a.error is not None)

    def test_a_silent_node_is_bounded_and_not_asked_twice(self, transport: JmxTransport, address: str) -> None:
        assert self.healthy(transport, address).error is None
        with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
            target = Target(2, f"127.0.0.1:{silent.getsockname()[1]}", PLAN)
            for _ in range(2):
                assert isinstance(self.read(transport, target, deadline=0.5)[2].error, JmxTimeout)

    def test_an_address_that_is_none(self, transport: JmxTransport) -> None:
        with pytest.raises(ValueError, match="'kafka-1' must be host:port"):
            transport.read([Target(1, "kafka-1", PLAN)], 1.0)

    def test_a_password_file_that_is_not_there(self, transport: JmxTransport, address: str, tmp_path: Path) -> None:
        nowhere = tmp_path / "none"
        answer = self.read(transport, Target(1, address, PLAN, Access(USER, str(nowhere))))[1]
        assert isinstance(answer.error, JmxDenied)
        assert f"jmx.password_file ({nowhere}) cannot be used: No such file" in str(answer.error)

    def test_after_its_end_it_answers_with_errors(self, transport: JmxTransport, address: str) -> None:
        assert self.healthy(transport, address).error is None
        transport.close()
        error = self.read(transport, Target(1, address, PLAN))[1].error
        assert isinstance(error, (JmxConnectionLost, JmxChildDied)) and "closed" in str(error)


class JmxPasswordContract(JmxContract):
    """A subclass gives a node that asks for USER and PASSWORD too."""

    @pytest.fixture
    def locked(self, tmp_path: Path) -> Iterator[tuple[str, Callable[[str], None]]]:
        """(address, how to set another password)."""
        raise NotImplementedError
        yield

    def test_a_password(
        self, transport: JmxTransport, locked: tuple[str, Callable[[str], None]], tmp_path: Path
    ) -> None:
        address, change = locked
        file = tmp_path / "secret"
        file.write_text(f"{PASSWORD}\n")
        access = Access(USER, str(file))
        assert self.healthy(transport, address, access).error is None
        for wrong in (Access(), Access("nobody", str(file))):
            error = self.healthy(transport, address, wrong).error
            assert isinstance(error, JmxDenied) and error.kind == "authentication" and PASSWORD not in str(error)
        change("another-one")
        file.write_text("another-one\n")
        assert self.healthy(transport, address, access).error is None
        file.write_text("not this one\n")
        error = self.healthy(transport, address, access).error
        assert isinstance(error, JmxDenied) and "not this one" not in str(error)


def values(answer: JmxAnswer, bean: str, metric: str) -> list[float]:
    """The values of a metric's first column in a bean, as the bean has them."""
    spec = shipped().by_bean[bean]
    column = next(c for c in spec.columns if c.family.name == metric)
    found = [b.values[column.index] for b in answer.beans if b.request == bean]
    return [v for v in found if isinstance(v, float)]
