"""Pages of jmx_exporter agents: back to beans, what they lack, other forms, and what is no page."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from exporter.facts.cluster import Role
from exporter.jmx.catalogue import shipped
from exporter.jmx.errors import JmxBadAnswer
from exporter.jmx.facts import JmxNode
from exporter.jmx.gate import observe, plan_for
from exporter.jmx.page import PageReader
from exporter.jmx.prometheus_transport import PrometheusTransport
from exporter.jmx.transport import BeanValues, Target
from tests.exporter.jmx.agent import PLAIN, FakeAgent, recorded_page, running

READER = PageReader(shipped())
STRIMZI_ONLY = (
    "brokertopicmetrics",
    "replicamanager",
    "kafkaserver",
    "kafkacontroller",
    "raftmetrics",
    "jvm_",
    "process_",
)


def beans(page: str, content_type: str = PLAIN) -> dict[str, BeanValues]:
    return {b.bean: b for b in READER.beans(page, content_type, shipped().plan())}


def test_every_named_bean_that_is_no_option_comes_back() -> None:
    found = beans(recorded_page())
    both = frozenset({Role.BROKER, Role.CONTROLLER})
    specs = [shipped().by_bean[r.bean] for r in shipped().plan("4.3.1", both).beans]
    assert [
        s.request.bean for s in specs if not s.optional and not s.request.is_pattern and s.request.bean not in found
    ] == []
    assert found["kafka.server:type=KafkaServer,name=BrokerState"].values == (3.0,)
    assert found["kafka.server:id=1,type=app-info"].values[-1] == "4.3.1"
    assert found["kafka.server:type=raft-metrics"].values[-1] == "leader"


def test_quoted_names_and_constants() -> None:
    page = (
        'kafka_log_logmanager_logdirectoryoffline{logDirectory="/data/k1"} 1.0\n'
        'kafka_log_logmanager_logdirectoryoffline{logDirectory="\\"/data/k2\\""} 0.0\n'
        'kafka_network_requestmetrics_totaltimems{request="Produce",quantile="0.99"} 7.5\n'
        'kafka_network_requestmetrics_totaltimems{request="Produce",quantile="0.75"} 3.0\n'
        'jvm_gc_collection_seconds_sum{gc="G1 Old Generation"} 1.5\n'
    )
    found = beans(page)
    assert found['kafka.log:logDirectory="/data/k1",name=LogDirectoryOffline,type=LogManager'].values == (1.0,)
    assert found['kafka.log:logDirectory="/data/k2",name=LogDirectoryOffline,type=LogManager'].values == (0.0,)
    total = found["kafka.network:type=RequestMetrics,name=TotalTimeMs,request=Produce"]
    assert total.values == (None, 7.5, None, None, None)
    assert found["java.lang:name=G1 Old Generation,type=GarbageCollector"].values == (None, 1500.0)


def test_topics_and_the_lifetime_mean_are_not_taken() -> None:
    page = (
        'kafka_server_brokertopicmetrics_bytesin_total{topic="orders"} 5.0\n'
        "kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent 0.99\n"
        "kafka_server_brokertopicmetrics_bytesin_total 8.0\n"
    )
    assert {b: v.values for b, v in beans(page).items()} == {
        "kafka.server:type=BrokerTopicMetrics,name=BytesInPerSec": (8.0,)
    }


def test_names_of_agents_before_1_0() -> None:
    page = 'jvm_memory_bytes_used{area="heap"} 5.0\njvm_memory_pool_bytes_max{pool="Eden Space"} 6.0\n'
    found = beans(page)
    assert found["java.lang:type=Memory"].values[0] == 5.0
    assert found["java.lang:name=Eden Space,type=MemoryPool"].values.count(6.0) == 1


def test_open_metrics() -> None:
    page = "\n".join(line for line in recorded_page().splitlines() if not line.startswith("#"))
    told = beans(page, "application/openmetrics-text; version=1.0.0; charset=utf-8")
    assert told.keys() == beans(recorded_page()).keys()


@pytest.mark.parametrize(
    "page", ["kafka_server_kafkaserver_brokerstate{ 3\n", "kafka_server_kafkaserver_brokerstate three\n"]
)
def test_nonsense_is_told(page: str) -> None:
    with pytest.raises(JmxBadAnswer, match="not understood"):
        beans(page)


@pytest.fixture
def agent() -> Iterator[FakeAgent]:
    with running(FakeAgent()) as made:
        yield made


@pytest.fixture
def transport() -> Iterator[PrometheusTransport]:
    made = PrometheusTransport(shipped())
    yield made
    made.close()


def seen(transport: PrometheusTransport, agent: FakeAgent, before: JmxNode | None = None) -> JmxNode:
    answer = transport.read([Target(1, f"127.0.0.1:{agent.port}", plan_for(shipped(), before))], 10.0)[1]
    assert answer.error is None, answer.error
    return observe(shipped(), answer, before)


def test_what_a_page_never_had_is_untold_and_what_it_lost_is_missing(
    transport: PrometheusTransport, agent: FakeAgent, caplog: pytest.LogCaptureFixture
) -> None:
    few = "".join(f"{line}\n" for line in recorded_page().splitlines() if any(w in line for w in STRIMZI_ONLY))
    agent.page = lambda: few
    with caplog.at_level(logging.WARNING):
        node = seen(transport, agent)
        node = seen(transport, agent, node)
    assert node.ready and node.is_broker and node.is_controller and node.beans_missing == 0
    untold = node.value("klaxon_jmx_beans_untold")
    assert untold is not None and untold > 30
    (said,) = [r.getMessage() for r in caplog.records]
    assert "kafka_log_logcleaner_deadthreadcount" in said and "replicamanager" not in said
    assert node.value("kafka_log_logcleaner_deadthreadcount") is None
    agent.page = lambda: "".join(f"{line}\n" for line in few.splitlines() if "jvm_" in line)
    lost = seen(transport, agent, node)
    assert lost.beans_missing > 20 and lost.value("klaxon_jmx_beans_untold") == untold


def test_a_starting_node_tells_no_lies_on_its_page_either(transport: PrometheusTransport, agent: FakeAgent) -> None:
    agent.page = lambda: recorded_page().replace("brokerstate 3.0", "brokerstate 1.0")
    node = seen(transport, agent)
    assert not node.ready and node.value("kafka_server_replicamanager_partitioncount") is None
    assert node.value("jvm_memory_used_bytes", area="heap") is not None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"status": 503}, "answers 503"),
        ({"page": lambda: "# nothing\n"}, "no metric of Kafka or Java"),
        ({"page": lambda: "<html>"}, "no metric of Kafka or Java"),
    ],
)
def test_what_is_no_page(
    transport: PrometheusTransport, agent: FakeAgent, change: dict[str, object], says: str
) -> None:
    for name, value in change.items():
        setattr(agent, name, value)
    error = transport.read([Target(1, f"127.0.0.1:{agent.port}", shipped().plan())], 10.0)[1].error
    assert isinstance(error, JmxBadAnswer) and says in str(error)


def test_a_page_without_compression(transport: PrometheusTransport, agent: FakeAgent) -> None:
    agent.zipped = False
    assert seen(transport, agent).ready
