"""Answers recorded from a node of Kafka 4.3.1: running, and while it started after a kill; and what faults make of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from exporter.jmx.transport import BeanValues, JmxAnswer, Value

_FILE = Path(__file__).with_name("samples") / "kafka-4.3.1.json"
NODE = 3


def recorded(name: str) -> JmxAnswer:
    """``running``; ``youngest`` (JMX just opened), ``false_zeros`` (beans say 0 for everything), ``starting`` (BrokerState 1)."""
    sample = json.loads(_FILE.read_text())[name]
    beans = tuple(BeanValues(request, bean, tuple(values)) for request, bean, values in sample["beans"])
    return JmxAnswer(NODE, "127.0.0.1:9999", sample["taken_at"], 0.05, beans, tuple(sample["missing"]))


def out_of_memory() -> JmxAnswer:
    """The running node after an OutOfMemoryError as it was seen on a 155 MB heap: most beans gone, BrokerState among them, the heap full."""
    running = recorded("running")
    kept = [b for b in running.beans if not b.bean.startswith("kafka.") or "raft" in b.bean or "app-info" in b.bean]
    lost = [b for b in running.beans if b not in kept and b.request == b.bean]
    memory = next(b for b in kept if b.bean == "java.lang:type=Memory")
    kept[kept.index(memory)] = replace(memory, values=(153e6, 155e6, 155e6, *memory.values[3:]))
    return replace(running, beans=tuple(kept), missing=(*running.missing, *(b.bean for b in lost)))


def changed(answer: JmxAnswer, bean: str, *values: Value) -> JmxAnswer:
    """The answer with the first values of one bean replaced."""
    assert any(b.bean == bean for b in answer.beans)
    beans = tuple(replace(b, values=(*values, *b.values[len(values) :])) if b.bean == bean else b for b in answer.beans)
    return replace(answer, beans=beans)


def without(answer: JmxAnswer, *beans: str) -> JmxAnswer:
    """The answer of a node that does not have these beans."""
    assert set(beans) <= {b.bean for b in answer.beans}
    kept = tuple(b for b in answer.beans if b.bean not in beans)
    return replace(answer, beans=kept, missing=(*answer.missing, *beans))
