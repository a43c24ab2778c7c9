"""One cluster on a screen that is read from 5 m: 14 tiles, one honest word each, nothing to click or scroll."""

from __future__ import annotations

from typing import Final

from dashboards import links, promql
from dashboards.looks import BLUE, GREEN, LEVELS, NEUTRAL, OK_IF_NONE, ORANGE, PLAIN, RED, low_is_good, none_is_good
from dashboards.panels import Board, Kind, Large, Panel, Query, Section, tile
from dashboards.promql import known, or_nan

STATE: Final = (
    tile(
        "IS EVERYTHING OK?",
        "OK: a controller answers, every expected broker is up, no partition lacks a leader, copies or min ISR, every log dir works, no alert of severity warning or critical fires "
        "and every collector has fresh facts. PARTLY BLIND: no fault is seen, but a collector has no facts of some node. DEGRADED: something is lost that clients do not feel. "
        "CRITICAL: clients stand still or a critical alert fires. NO DATA: no evidence of a fault, and not enough facts to say OK.",
        promql.EVERYTHING,
        ((None, GREEN), (1, ORANGE), (3, RED)),
        (0, 0),
        words=LEVELS,
        link=links.CLUSTER,
        width=12,
        height=7,
        large=Large(value=120, title=48),
    ),
    tile(
        "NOT OK FOR",
        "Time since the first tile last said OK, asked each 30 s; more than 3 hours show as 3 hours.",
        promql.NOT_OK_SECONDS,
        ((None, BLUE), (90, ORANGE), (600, RED)),
        (12, 0),
        unit="s",
        link=links.CLUSTER,
        height=7,
    ),
    tile(
        "DATA AGE",
        "Age of the oldest of brokers and partitions when you look: Klaxon's facts when they were scraped, and the time since. Orange from 30 s on, red from 45 s on: "
        "three scrapes of 15 s. NO DATA when Prometheus gets nothing from Klaxon.",
        promql.DATA_AGE,
        low_is_good(30, 45),
        (18, 0),
        unit="s",
        link=links.CLUSTER,
        height=7,
    ),
)

AREAS: Final = (
    tile(
        "BROKERS",
        "Expected brokers that do not answer, or that the cluster does not have registered and unfenced. NO DATA when Klaxon has tried none lately.",
        promql.BROKERS_DOWN,
        none_is_good(),
        (0, 7),
        words=OK_IF_NONE,
        unit="suffix:DOWN",
        link=links.BROKERS,
    ),
    tile(
        "CONTROLLER",
        "OK if an active controller answers, NONE if there is evidence that none does: then no leader can be elected. NO DATA when nobody can tell.",
        known("kafka_controller_alive"),
        ((None, RED), (1, GREEN)),
        (6, 7),
        words={0: ("NONE", RED), 1: ("OK", GREEN)},
        link=links.CLUSTER,
    ),
    tile(
        "NO LEADER",
        "Partitions without a leader: they can be neither written nor read. NO DATA when the brokers' metadata is old or may be frozen.",
        known("kafka_partitions_leaderless"),
        none_is_good(),
        (12, 7),
        words=OK_IF_NONE,
        link=links.CLUSTER,
    ),
    tile(
        "WRITES BLOCKED",
        "Partitions below min.insync.replicas: producers with acks=all cannot write to them. NO DATA when the brokers' metadata is old or may be frozen.",
        known("kafka_partitions_under_min_isr"),
        none_is_good(),
        (18, 7),
        words=OK_IF_NONE,
        link=links.CLUSTER,
    ),
    tile(
        "UNDER-REPLICATED",
        "Partitions with fewer in-sync replicas than replicas: they work, with less redundancy. NO DATA when the brokers' metadata is old or may be frozen.",
        known("kafka_partitions_under_replicated"),
        none_is_good(ORANGE),
        (0, 13),
        words=OK_IF_NONE,
        link=links.CLUSTER,
    ),
    tile(
        "FULLEST DISK",
        "Used share of the fullest volume of log dirs, of the brokers that answer; FAILED when a broker has taken a log dir out of service. Orange from 75% on, red from 85% on.",
        promql.FULLEST_DISK,
        low_is_good(0.75, 0.85),
        (6, 13),
        words={2: ("FAILED", RED)},
        unit="percentunit",
        link=links.BROKERS,
    ),
    tile(
        "GROUPS",
        "Consumer groups with more lag than their limit (klaxon_threshold group_lag). NO DATA when a coordinator or a leader has not answered.",
        promql.GROUPS_BEHIND,
        none_is_good(ORANGE),
        (12, 13),
        words=OK_IF_NONE,
        unit="suffix:LATE",
        link=links.GROUPS,
    ),
    tile(
        "CRITICAL ALERTS",
        "Critical alerts that fire. NONE only while the rules are evaluated (Watchdog fires) and Klaxon reaches the cluster. The Prometheus asked must load Klaxon's rule files.",
        promql.alerts_firing("critical"),
        none_is_good(),
        (18, 13),
        words={0: ("NONE", GREEN)},
        link=links.CLUSTER,
    ),
)

LIST: Final = Panel(
    Kind.STAT,
    "Critical alerts and how long",
    "The five critical alerts that have fired longest, worst first, each with its subject and for how long (3 hours at most). One line none while all is well; NO DATA when nobody can tell.",
    (
        Query(
            or_nan(
                f"sort_desc(topk(5, {promql.firing_for('critical')}))"
                f' or on () label_replace({promql.ALERTS_SEEN}, "alertname", "no critical alert", "cluster", ".*")'
            ),
            "{{alertname}} {{subject}}",
        ),
    ),
    "s",
    ((None, NEUTRAL), (1, RED)),
    18,
    8,
    words={0: ("none", NEUTRAL)},
    link=links.CLUSTER,
    large=Large(value=40, title=40, across=True),
    at=(0, 19),
)

CORNER: Final = (
    tile(
        "$cluster",
        "Name of the cluster; blue while Klaxon reaches any of its brokers, red if it reaches none.",
        known("klaxon_cluster_reachable"),
        ((None, RED), (1, BLUE)),
        (18, 19),
        height=4,
        large=Large(value=90, title=64, text="name"),
    ),
    tile(
        "TIME",
        "The data source's clock, UTC: a screen whose clock stands still shows old tiles.",
        "vector(time()) * 1000",
        PLAIN,
        (18, 23),
        unit="time:HH:mm[Z]",
        height=4,
        large=Large(value=90, title=40, text="value"),
    ),
)

BOARD: Final = Board(
    uid="klaxon-wall",
    title="Kafka wall",
    says="One cluster at a glance. Open with ?kiosk&var-cluster=NAME.",
    sections=(Section("", (*STATE, *AREAS, LIST, *CORNER)),),
    wall=True,
)
