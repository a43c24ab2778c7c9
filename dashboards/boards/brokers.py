"""Every broker by utilisation, saturation and errors, and how it compares with the others."""

from __future__ import annotations

from typing import Final

from dashboards.looks import (
    BLUE,
    LEG_STATES,
    NO_IS_GOOD,
    ORANGE,
    PLAIN,
    YES_IS_GOOD,
    YES_NO,
    floor,
    high_is_good,
    limit,
    low_is_good,
    none_is_good,
)
from dashboards.panels import Board, Choice, Column, Query, Section, graph, table, timeline
from dashboards.promql import each, of, rate, states

CHOSEN: Final = "~$broker"
BROKER: Final = Column("broker", "Broker")
BY: Final = "{{broker}}"
REQUESTS: Final = "~Produce|FetchConsumer|FetchFollower"


def _each(metric: str, **labels: str) -> str:
    return each("broker", metric, broker=CHOSEN, **labels)


def _rate(metric: str, **labels: str) -> str:
    return rate("broker", metric, broker=CHOSEN, **labels)


def _rate_now(metric: str) -> str:
    """A rate goes on for its whole window after its series has ended; in a table it must not."""
    return f"{_rate(metric)} and on (cluster, broker) {_each(metric)}"


HEAP: Final = f"{_each('jvm_memory_used_bytes', area='heap')} / {_each('jvm_memory_max_bytes', area='heap')}"
USED: Final = (
    f"1 - {each('broker, dir', 'kafka_log_dir_usable_bytes', broker=CHOSEN)}"
    f" / {each('broker, dir', 'kafka_log_dir_total_bytes', broker=CHOSEN)}"
)
P99: Final = f"max by (cluster, broker, request) ({of('kafka_network_requestmetrics_totaltimems', broker=CHOSEN, request=REQUESTS, quantile='0.99')})"
IDLE: Final = _each("kafka_server_kafkarequesthandlerpool_brokerrequesthandleravgidle_percent")
IDLE_OF_BOTH: Final = _each("kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent")
HANDLERS_IDLE: Final = f"{IDLE} or {IDLE_OF_BOTH}"
NETWORK_IDLE: Final = _each("kafka_network_socketserver_networkprocessoravgidle_percent")

AVAILABILITY: Final = Section(
    "Availability",
    (
        timeline(
            "How each node is reached",
            "The last try of each way of reaching a node: TCP, ApiVersions, Metadata, JMX. Which of them answer tells a dead broker from a hung one. Skipped: an earlier one failed, or the node "
            "is tried less often since it timed out. Gaps are times without facts.",
            LEG_STATES,
            Query(states("kafka_broker_leg", "broker, leg", "state", LEG_STATES, broker=CHOSEN), "{{broker}} {{leg}}"),
            height=10,
        ),
        table(
            "Brokers",
            "Whether the cluster counts on the broker (registered and not fenced), what it holds, and whether it left by a controlled shutdown (empty while it is there or nobody can tell).",
            (
                BROKER,
                Column("Value #A", "Up", words=YES_IS_GOOD),
                Column("Value #B", "Fenced", words=NO_IS_GOOD),
                Column("Value #C", "Left cleanly", words=YES_NO),
                Column("Value #D", "Leaders"),
                Column("Value #E", "Replicas"),
                Column("Value #F", "Replicas missing", "none", none_is_good(ORANGE)),
                Column("Value #G", "Runs for", "s", ((None, ORANGE), (600, BLUE))),
            ),
            Query(_each("kafka_broker_up")),
            Query(_each("kafka_broker_fenced"), quiet="brokers before 4.0 cannot tell"),
            Query(_each("kafka_broker_departure_controlled"), quiet="told of brokers that are gone"),
            Query(_each("kafka_broker_leaders")),
            Query(_each("kafka_broker_replicas")),
            Query(_each("kafka_broker_replicas_missing")),
            Query(f"{_each('java_lang_runtime_uptime')} / 1000"),
            width=16,
        ),
        table(
            "Versions",
            "Kafka version that each node runs, as it says by JMX.",
            (BROKER, Column("version", "Version"), Column("Value", "Runs", words=YES_IS_GOOD)),
            Query(each("broker, version", "kafka_server_app_info", broker=CHOSEN)),
            width=8,
        ),
    ),
)

COMPARED: Final = Section(
    "Side by side",
    (
        table(
            "Heat table",
            "One row for each broker: the colours say which number is over its limit, the column which broker stands out. Latencies are 99th percentiles, milliseconds.",
            (
                BROKER,
                Column("Value #A", "Bytes in", "Bps", PLAIN),
                Column("Value #B", "Bytes out", "Bps", PLAIN),
                Column("Value #C", "Handlers idle", "percentunit", high_is_good(0.2, 0.4)),
                Column("Value #D", "Network idle", "percentunit", high_is_good(0.2, 0.4)),
                Column("Value #E", "Queue", "short", low_is_good(50, 400)),
                Column("Value #F", "Produce p99", "ms", low_is_good(200, 1000)),
                Column("Value #G", "Heap", "percentunit", low_is_good(0.85, 0.95)),
                Column("Value #H", "Fullest disk", "percentunit", low_is_good(0.75, 0.85)),
                Column("Value #I", "CPU", "percentunit", low_is_good(0.7, 0.9)),
                Column("Value #J", "Leaders", "short", PLAIN),
            ),
            Query(_rate_now("kafka_server_brokertopicmetrics_bytesin_total")),
            Query(_rate_now("kafka_server_brokertopicmetrics_bytesout_total")),
            Query(HANDLERS_IDLE),
            Query(NETWORK_IDLE),
            Query(_each("kafka_network_requestchannel_requestqueuesize")),
            Query(_each("kafka_network_requestmetrics_totaltimems", request="Produce", quantile="0.99")),
            Query(HEAP),
            Query(f"max by (cluster, broker) ({USED})"),
            Query(_each("java_lang_operatingsystem_processcpuload")),
            Query(_each("kafka_broker_leaders")),
            width=24,
        ),
    ),
)

UTILISATION: Final = Section(
    "Utilisation",
    (
        graph(
            "Bytes in",
            "What producers write to each broker.",
            "Bps",
            Query(_rate("kafka_server_brokertopicmetrics_bytesin_total"), BY),
        ),
        graph(
            "Bytes out",
            "What consumers read from each broker.",
            "Bps",
            Query(_rate("kafka_server_brokertopicmetrics_bytesout_total"), BY),
        ),
        graph(
            "Replication",
            "What followers fetch from each broker (out) and what it fetches as a follower (in).",
            "Bps",
            Query(_rate("kafka_server_brokertopicmetrics_replicationbytesin_total"), "{{broker}} in"),
            Query(_rate("kafka_server_brokertopicmetrics_replicationbytesout_total"), "{{broker}} out"),
        ),
        graph(
            "Records in",
            "Records that producers write to each broker.",
            "wps",
            Query(_rate("kafka_server_brokertopicmetrics_messagesin_total"), BY),
        ),
        graph(
            "Request handlers idle",
            "Share of time that the broker's request handlers are idle; of both pools where brokers do not tell their own. Below 20% requests queue.",
            "percentunit",
            Query(HANDLERS_IDLE, BY),
            steps=floor(0.2),
            most=1,
        ),
        graph(
            "Network threads idle",
            "Share of time that the network threads are idle. Below 20% clients wait to be read.",
            "percentunit",
            Query(NETWORK_IDLE, BY),
            steps=floor(0.2),
            most=1,
        ),
        graph(
            "Used share of log dirs",
            "Of the volume that holds the log dir; only of dirs that work.",
            "percentunit",
            Query(USED, "{{broker}} {{dir}}"),
            steps=limit(0.85),
            most=1,
        ),
        graph(
            "Usable space in 24 hours",
            "What the trend of the last 3 hours makes of the usable space; below zero the disk is full by then.",
            "bytes",
            Query(
                f"max by (cluster, broker, dir) (predict_linear({of('kafka_log_dir_usable_bytes', broker=CHOSEN)}[3h], 86400))",
                "{{broker}} {{dir}}",
            ),
            steps=floor(0),
            least=None,
        ),
        graph(
            "CPU",
            "CPU use of the broker's process as a share of its machine.",
            "percentunit",
            Query(_each("java_lang_operatingsystem_processcpuload"), BY),
            steps=limit(0.9),
            most=1,
        ),
        graph(
            "Heap",
            "Used share of the heap. It rises and falls with collections: look at what stays.",
            "percentunit",
            Query(HEAP, BY),
            steps=limit(0.95),
            most=1,
        ),
        graph(
            "Garbage collection",
            "Share of time spent in garbage collections.",
            "percentunit",
            Query(_rate("jvm_gc_collection_seconds_sum"), BY),
            steps=limit(0.1),
        ),
        graph(
            "Open files",
            "Used share of the file descriptors that the process may open.",
            "percentunit",
            Query(f"{_each('process_open_fds')} / {_each('process_max_fds')}", BY),
            steps=limit(0.8),
            most=1,
        ),
    ),
)

SATURATION: Final = Section(
    "Saturation",
    (
        graph(
            "Latency of requests, 99th percentile",
            "Time of a request from its arrival to the sent response. FetchConsumer waits for data on purpose (fetch.max.wait.ms).",
            "ms",
            Query(P99, "{{broker}} {{request}}"),
            steps=limit(1000, ORANGE),
        ),
        graph(
            "Queues",
            "Requests that wait for a request handler, and responses that wait for a network thread. The request queue holds 500 by default.",
            "short",
            Query(_each("kafka_network_requestchannel_requestqueuesize"), "{{broker}} requests"),
            Query(_each("kafka_network_requestchannel_responsequeuesize"), "{{broker}} responses"),
            steps=limit(400),
        ),
        graph(
            "Purgatory",
            "Requests that wait for followers or for data.",
            "short",
            Query(
                each(
                    "broker, delayedOperation",
                    "kafka_server_delayedoperationpurgatory_purgatorysize",
                    broker=CHOSEN,
                    delayedOperation="~Produce|Fetch",
                ),
                "{{broker}} {{delayedOperation}}",
            ),
        ),
        graph(
            "How long each node takes to answer Klaxon",
            "Duration of the last try of each way of reaching it.",
            "s",
            Query(each("broker, leg", "kafka_broker_leg_seconds", broker=CHOSEN), "{{broker}} {{leg}}"),
            steps=limit(1, ORANGE),
        ),
    ),
)

ERRORS: Final = Section(
    "Errors",
    (
        graph(
            "In-sync sets",
            "Replicas that leaders took out of the in-sync set and put back. Removals by the controller are not counted: a dead broker does not show here.",
            "ops",
            Query(_rate("kafka_server_replicamanager_isrshrinks_total"), "{{broker}} shrinks"),
            Query(_rate("kafka_server_replicamanager_isrexpands_total"), "{{broker}} expands"),
        ),
        graph(
            "Failed requests",
            "Produce and fetch requests, counted by partition, that failed.",
            "reqps",
            Query(_rate("kafka_server_brokertopicmetrics_failedproducerequests_total"), "{{broker}} produce"),
            Query(_rate("kafka_server_brokertopicmetrics_failedfetchrequests_total"), "{{broker}} fetch"),
            steps=limit(1, ORANGE),
        ),
        graph(
            "Missing replicas",
            "Replicas assigned to the broker that are not in sync.",
            "short",
            Query(_each("kafka_broker_replicas_missing"), BY),
            steps=limit(1, ORANGE),
        ),
        graph(
            "Log dirs that work",
            "1 if the log dir works, 0 if its broker has taken it out of service.",
            "none",
            Query(each("broker, dir", "kafka_log_dir_online", broker=CHOSEN), "{{broker}} {{dir}}"),
            steps=floor(1),
            most=1,
        ),
        graph(
            "Copying given up",
            "Replicas that the broker does not fetch any more after an error, and its fetcher threads that died: both until it is restarted.",
            "short",
            Query(_each("kafka_server_replicafetchermanager_failedpartitionscount"), "{{broker}} replicas"),
            Query(_each("kafka_server_replicafetchermanager_deadthreadcount"), "{{broker}} threads"),
            steps=limit(1, ORANGE),
        ),
        graph(
            "Processes without a broker",
            "1 if the process answers JMX and the broker in it is gone, as after it ran out of memory: kill and start it.",
            "none",
            Query(_each("klaxon_jmx_broker_bean_lost"), BY),
            steps=limit(1),
            most=1,
        ),
        graph(
            "Authentications that failed",
            "Connections whose authentication failed.",
            "ops",
            Query(_rate("kafka_server_socket_server_metrics_failed_authentication_total"), BY),
            steps=limit(1, ORANGE),
        ),
        graph(
            "Unclean elections",
            "Leaders that were elected from outside of the in-sync replicas in the last hour: records were lost.",
            "short",
            Query(
                f"max by (cluster) (increase({of('kafka_controller_controllerstats_uncleanleaderelections_total')}[1h]))",
                "unclean",
            ),
            steps=limit(1),
        ),
    ),
)

BOARD: Final = Board(
    uid="klaxon-brokers",
    title="Kafka brokers",
    says="Utilisation, saturation and errors of every broker, side by side.",
    sections=(AVAILABILITY, COMPARED, UTILISATION, SATURATION, ERRORS),
    choices=(Choice("broker", "kafka_node_info", "broker"),),
)
