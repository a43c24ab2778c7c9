"""The client processes of the traffic: `python -m demo.clients ROLE --folder FOLDER`, where FOLDER is that of a running demo cluster."""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer

from demo import kafka
from demo.cluster import Cluster

TICK_S = 0.05
REPORT_S = 10.0
DELIVERY_LIMIT_MS = 30_000
BATCH = 100
TRANSACTION_PAUSE_S = 1.0
TRANSACTION_SIZE = 10
TRANSACTIONAL_ID = "demo-ledger"
TRANSACTION_LIMIT_S = 30.0
OPEN = "open"
"""What `leave` prints when its transaction is open on the brokers."""


def produce(
    access: kafka.Access,
    topics: Sequence[str],
    rate: float,
    size: int | None,
    stopped: Event,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Produce `rate` messages a second until stopped; what cannot be delivered is counted, and the flow goes on.

    They are of `size` bytes, or without it small ones of a few fields.
    """
    producer = Producer(
        {
            **kafka.client_settings(access),
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 5,
            "message.timeout.ms": DELIVERY_LIMIT_MS,
        }
    )
    counts = {"delivered": 0, "failed": 0}
    made = _payload if size is None else lambda: random.randbytes(size)

    def delivered(error: KafkaError | None, _message: Message) -> None:
        counts["failed" if error else "delivered"] += 1

    report_due = monotonic() + REPORT_S
    last, owed = monotonic(), 0.0
    while not stopped.is_set():
        now = monotonic()
        # After a pause of this process the missed time is not made up for: that would be a burst.
        owed += rate * min(now - last, 1.0)
        last = now
        while owed >= 1:
            owed -= 1
            try:
                producer.produce(
                    random.choice(topics), key=f"{random.randrange(10_000)}", value=made(), on_delivery=delivered
                )
            except BufferError:
                counts["failed"] += 1
        producer.poll(TICK_S)
        if now >= report_due:
            print(f"delivered {counts['delivered']}, failed {counts['failed']}", flush=True)
            report_due = now + REPORT_S
    producer.flush(5)


def transact(access: kafka.Access, topic: str, stopped: Event) -> None:
    """Commit a small transaction each second until stopped; what cannot be committed is aborted.

    Raises KafkaException where only a new producer helps: the process ends, and the supervisor starts the next one.
    """
    producer = transactional(access, TRANSACTIONAL_ID)
    producer.init_transactions(TRANSACTION_LIMIT_S)
    while not stopped.wait(TRANSACTION_PAUSE_S):
        try:
            producer.begin_transaction()
            for _ in range(TRANSACTION_SIZE):
                producer.produce(topic, value=_payload())
            producer.commit_transaction(TRANSACTION_LIMIT_S)
        except KafkaException as failed:
            error: KafkaError = failed.args[0]
            if not error.txn_requires_abort():
                raise
            producer.abort_transaction(TRANSACTION_LIMIT_S)


def leave_open(access: kafka.Access, topic: str, identity: str, timeout: float, stopped: Event) -> None:
    """Open a transaction with a record on the brokers, say so, and never end it."""
    producer = transactional(access, identity, timeout)
    producer.init_transactions(TRANSACTION_LIMIT_S)
    producer.begin_transaction()
    producer.produce(topic, value=_payload())
    producer.flush(TRANSACTION_LIMIT_S)
    print(OPEN, flush=True)
    stopped.wait()


def transactional(access: kafka.Access, identity: str, timeout: float = 60.0) -> Producer:
    """A producer of that transactional.id; `timeout` in seconds is after what the coordinator ends its transactions."""
    limits = {"transaction.timeout.ms": int(timeout * 1000), "message.timeout.ms": DELIVERY_LIMIT_MS}
    return Producer({**kafka.client_settings(access), "transactional.id": identity, **limits})


def consume(
    access: kafka.Access,
    member_settings: dict[str, str],
    topics: Sequence[str],
    max_rate: float | None,
    stopped: Event,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Consume as one member of a group until stopped, at most `max_rate` messages a second."""
    member = _member(access, member_settings, topics)
    consumed, report_due = 0, monotonic() + REPORT_S
    try:
        while not stopped.is_set():
            consumed += len(_take(member, BATCH if max_rate is None else 1))
            if max_rate is not None:
                stopped.wait(1 / max_rate)
            if monotonic() >= report_due:
                print(f"consumed {consumed}", flush=True)
                report_due = monotonic() + REPORT_S
    finally:
        member.close()


def _member(access: kafka.Access, settings: dict[str, str], topics: Sequence[str]) -> Consumer:
    member = Consumer(
        {
            **kafka.client_settings(access),
            **settings,
            "auto.offset.reset": "earliest",
            "auto.commit.interval.ms": 1000,
        }
    )
    member.subscribe(list(topics))
    return member


def _take(member: Consumer, count: int) -> list[Message]:
    """Messages without errors; a fatal error ends the process, and the supervisor starts a new one."""
    messages = member.consume(count, TICK_S)
    for message in messages:
        error = message.error()
        if error is not None and error.fatal():
            raise KafkaException(error)
    return [message for message in messages if message.error() is None]


def _payload() -> bytes:
    return json.dumps(
        {"at": time.time(), "amount": random.randint(1, 500), "note": "x" * random.randint(50, 200)}
    ).encode()


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry of `python -m demo.clients produce|transact|leave|consume`."""
    given = _parser().parse_args(arguments)
    stopped = Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    signal.signal(signal.SIGINT, lambda *_: stopped.set())
    topics = tuple(given.topics.split(","))
    access = Cluster.load(given.folder).client_settings()
    with contextlib.suppress(KeyboardInterrupt):
        if given.role == "produce":
            produce(access, topics, given.rate, given.size, stopped)
        elif given.role == "transact":
            transact(access, topics[0], stopped)
        elif given.role == "leave":
            leave_open(access, topics[0], given.id, given.timeout, stopped)
        else:
            isolation = "read_committed" if given.read_committed else "read_uncommitted"
            settings = {"group.id": given.group, "group.protocol": given.protocol, "isolation.level": isolation}
            consume(access, settings, topics, given.max_rate, stopped)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m demo.clients", description=__doc__)
    roles = parser.add_subparsers(dest="role", required=True)
    producing, leaving, consuming = (roles.add_parser(name) for name in ("produce", "leave", "consume"))
    for role in (producing, roles.add_parser("transact"), leaving, consuming):
        role.add_argument("--folder", required=True, type=Path)
        role.add_argument("--topics", required=True, help="names, separated by commas")
    producing.add_argument("--rate", type=float, required=True, help="messages a second over all topics")
    producing.add_argument("--size", type=int, help="bytes of each message")
    leaving.add_argument("--id", required=True, help="transactional.id")
    leaving.add_argument("--timeout", type=float, required=True, help="transaction.timeout.ms, in seconds")
    consuming.add_argument("--group", required=True)
    consuming.add_argument("--protocol", choices=("classic", "consumer"), default="classic")
    consuming.add_argument("--read-committed", action="store_true")
    consuming.add_argument("--max-rate", type=float, help="at most so many messages a second")
    return parser


if __name__ == "__main__":
    main()
