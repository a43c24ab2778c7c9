"""The bean catalogue: the shipped one is sound, and each kind of fault is named with its row and key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from exporter.facts.cluster import Role
from exporter.jmx.catalogue import (
    ACTIVE_CONTROLLER,
    BROKER_STATE,
    Aggregate,
    Gate,
    MetricType,
    families,
    key_properties,
    load,
    parse,
    shipped,
)
from exporter.jmx.errors import CatalogueError
from exporter.jmx.transport import Attribute, Kind

GOOD = """
beans:
  - bean: "kafka.server:type=X,name=Y"
    role: broker
    metrics:
      - {attribute: Value, name: kafka_server_x_y, type: gauge, aggregate: max, help: "What it is good for."}
"""


def test_strimzi_names() -> None:
    names = set(shipped().families())
    assert {
        "kafka_server_replicamanager_underreplicatedpartitions",
        "kafka_server_brokertopicmetrics_bytesin_total",
        "kafka_controller_kafkacontroller_activecontrollercount",
        "kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent",
        "kafka_network_socketserver_networkprocessoravgidle_percent",
        "kafka_network_requestmetrics_totaltimems",
        "kafka_server_raftmetrics_current_state",
        "kafka_server_brokermetadatametrics_last_applied_record_lag_ms",
        "jvm_memory_used_bytes",
        "jvm_gc_collection_seconds_sum",
    } <= names


def test_every_family_begins_with_the_node_and_no_counter_is_aggregated() -> None:
    for family in families():
        assert family.labels[0] == "broker"
        assert len(set(family.labels)) == len(family.labels)
        assert "cluster" not in family.labels
        if family.type is MetricType.COUNTER:
            assert family.aggregate is Aggregate.NONE


def test_nothing_of_a_starting_node_but_what_is_known_to_be_true() -> None:
    never = {s.request.bean for s in shipped().specs if s.gate is Gate.NEVER and s.request.bean.startswith("kafka.")}
    assert never == {
        BROKER_STATE,
        "kafka.server:type=app-info,id=*",
        "kafka.server:type=raft-metrics",
        "kafka.log:type=LogManager,name=remainingLogsToRecover,dir=*",
        "kafka.log:type=LogManager,name=remainingSegmentsToRecover,dir=*,threadNum=*",
    }


def test_each_and_summary_stand_for_several_rows() -> None:
    spec = shipped().by_bean["kafka.network:type=RequestMetrics,name=TotalTimeMs,request=FetchConsumer"]
    assert [a.name for a in spec.request.attributes] == [
        "50thPercentile",
        "99thPercentile",
        "999thPercentile",
        "Mean",
        "Count",
    ]
    rows = list(spec.label_rows(spec.request.bean))
    assert rows[1] == {"request": "FetchConsumer", "quantile": "0.99"}
    assert rows[4] == {"request": "FetchConsumer"}
    assert spec.columns[4].family.name == "kafka_network_requestmetrics_totaltimems_count"
    assert spec.columns[4].family.type is MetricType.COUNTER


def test_composites_and_texts() -> None:
    memory = shipped().by_bean["java.lang:type=Memory"].request
    assert memory.attributes[0] == Attribute("HeapMemoryUsage", Kind.COMPOSITE, ("used", "committed", "max"))
    raft = shipped().by_bean["kafka.server:type=raft-metrics"].request
    assert raft.attributes[-1] == Attribute("current-state", Kind.TEXT)


def test_plans_follow_version_and_roles_and_last() -> None:
    catalogue = shipped()
    controller, broker = frozenset({Role.CONTROLLER}), frozenset({Role.BROKER})
    everything = {b.bean for b in catalogue.plan().beans}
    old = {b.bean for b in catalogue.plan("3.9.1").beans}
    shutdowns = "kafka.controller:type=KafkaController,name=ControlledShutdownBrokerCount"
    assert shutdowns in everything and shutdowns not in old
    on_controller = {b.bean for b in catalogue.plan("4.3.1", controller).beans}
    assert BROKER_STATE in on_controller
    assert not any("ReplicaManager" in bean for bean in on_controller)
    on_broker = {b.bean for b in catalogue.plan("4.3.1", broker).beans}
    assert ACTIVE_CONTROLLER in on_broker and shutdowns not in on_broker
    assert catalogue.plan("4.3.1", broker) is catalogue.plan("4.3.0", broker)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            ("role: broker", "role: brokr"),
            r"beans\[0\]\.role \(kafka\.server:type=X,name=Y\): .*'broker', 'controller' or 'any'",
        ),
        (("type: gauge", "type: gage"), r"metrics\[0\]\.type .*'gauge' or 'counter'"),
        (("aggregate: max, ", ""), r"metrics\[0\]\.aggregate: a gauge needs one of max, min"),
        (("type: gauge", "type: counter"), r"metrics\[0\]\.aggregate: a sum of counters falls"),
        (("kafka_server_x_y", "Kafka_X"), r"metrics\[0\]\.name .*pattern"),
        (("kafka_server_x_y", "kafka_server_x_total"), r"metrics\[0\]\.type: a name that ends in _total is a counter"),
        (("attribute: Value", "atribute: Value"), r"metrics\[0\]\.attribute .*required"),
        (("help: ", "unit: pounds, help: "), r"metrics\[0\]\.unit .*'seconds'"),
        (("help: ", "scale: yes, help: "), r"metrics\[0\]\.scale .*number"),
        (("name=Y", "name=*"), r"labels: name varies from bean to bean"),
        (("type=X", "type=X,topic=*"), r"never a bean per topic"),
        (("kafka.server:", "*:"), r"beans\[0\]\.bean .*pattern"),
        (("type=X", "type=X*"), r"a pattern may only have key=\*"),
        (
            ("role: broker", "role: broker\n    labels: {nothere: label}"),
            r"labels\.nothere: the bean has no key nothere",
        ),
        (("role: broker", "role: broker\n    labels: {name: broker}"), r"labels\.name: broker is taken"),
        (("role: broker", "role: broker\n    each: {name: [A]}"), r"each\.name: the bean must have name=\$name"),
        (("role: broker", "role: broker\n    since: 4"), r"beans\[0\]\.since .*string"),
        (("role: broker", 'role: broker\n    since: "4.1"\n    until: "3.9"'), r"until: 3\.9 is before since 4\.1"),
        (("role: broker", "role: broker\n    gate: sometimes"), r"gate .*'running'"),
        (("beans:", "bean:"), r"beans: Field required"),
        (("beans:", "beans: ["), r"not YAML"),
    ],
)
def test_faults_are_named(change: tuple[str, str], expected: str) -> None:
    assert change[0] in GOOD
    with pytest.raises(CatalogueError) as caught:
        parse(GOOD.replace(*change), "my.yaml")
    assert re.search(expected, str(caught.value), re.DOTALL), caught.value
    assert all(line.startswith("my.yaml: ") for line in str(caught.value).splitlines()[:1])


def test_one_name_means_one_thing() -> None:
    second = GOOD.replace("beans:\n", "").replace("name=Y", "name=Z").replace("What it", "Who it")
    with pytest.raises(CatalogueError, match=r"metric kafka_server_x_y: help of kafka.server:type=X,name=Z differ"):
        parse(GOOD + second, "my.yaml")
    with pytest.raises(CatalogueError, match=r"bean kafka.server:type=X,name=Y stands twice"):
        parse(GOOD + GOOD.replace("beans:\n", ""), "my.yaml")


def test_every_fault_is_listed() -> None:
    with pytest.raises(CatalogueError) as caught:
        parse(GOOD.replace("role: broker", "role: x").replace("type: gauge", "type: y"), "my.yaml")
    assert len(caught.value.faults) == 2


def test_a_folder_of_files(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"none: has no files"):
        load(tmp_path / "none")
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yaml").write_text(GOOD.replace("name=Y", "name=Z"))
    assert len(load(tmp_path).specs) == 2
    (tmp_path / "b.yaml").write_text(GOOD)
    with pytest.raises(CatalogueError, match=r"bean kafka.server:type=X,name=Y stands twice"):
        load(tmp_path)
    (tmp_path / "b.yaml").write_text(GOOD.replace("role: broker", "role: x"))
    with pytest.raises(CatalogueError, match=r"b\.yaml: beans\[0\]"):
        load(tmp_path)


def test_quoted_key_properties() -> None:
    assert key_properties(r'kafka.log:type=LogManager,logDirectory="/data,a=b\"\\\n",name=Z') == {
        "type": "LogManager",
        "logDirectory": '/data,a=b"\\\n',
        "name": "Z",
    }
