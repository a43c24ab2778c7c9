"""What brokers are told and what they show: settings that differ, certificates, topics that Klaxon may not see; a section of the cluster's board."""

from __future__ import annotations

from typing import Final

from dashboards import links
from dashboards.looks import NO_IS_GOOD, NONE, ORANGE, RED, high_is_good, none_is_good
from dashboards.panels import Column, Query, Section, stat, table
from dashboards.promql import count_or_zero, each, known, or_none, zero_if_covered

BROKER: Final = Column("broker", "Broker", link=links.BROKER)
DAYS: Final = 86400
NO_TLS: Final = "a cluster may have no listener with TLS"

SETTINGS: Final = Section(
    "Settings and certificates",
    (
        stat(
            "Settings that differ",
            "Settings that have more than one value among the brokers, those left out that differ by nature. none only while every broker has told its settings.",
            count_or_zero(each("name", "kafka_config_drift"), "configs"),
            none_is_good(ORANGE),
            words=NONE,
            width=6,
        ),
        stat(
            "Certificates end in",
            "Time until the first certificate that a listener shows ends. NO DATA where no listener has TLS.",
            f"{known('kafka_certificate_expiry_timestamp_seconds').replace('max by', 'min by')} - time()",
            high_is_good(7 * DAYS, 30 * DAYS),
            unit="s",
            width=6,
            quiet=NO_TLS,
        ),
        stat(
            "Certificate problems",
            "Listeners whose certificate is not accepted or could not be read. NO DATA where no listener has TLS.",
            count_or_zero(
                each("broker, listener, address, kind, problem", "kafka_certificate_problem"), "certificates"
            ),
            none_is_good(RED),
            words=NONE,
            width=6,
            quiet=NO_TLS,
        ),
        stat(
            "Hidden topics",
            "Topics that the controller counts and Klaxon may not see: they are in no number of this board. NO DATA where JMX does not tell.",
            known("kafka_topics_hidden"),
            none_is_good(ORANGE),
            words=NONE,
            width=6,
            quiet="JMX may not be open",
        ),
        table(
            "Settings that differ",
            "Each broker's value of a setting that differs among the brokers. A row says none while every broker has told its settings and none differs.",
            (Column("name", "Setting"), BROKER, Column("value", "Value"), Column("Value", "Differs", words=NO_IS_GOOD)),
            Query(or_none(each("broker, name, value", "kafka_config_drift_info"), "name", zero_if_covered("configs"))),
        ),
        table(
            "Certificates",
            "Certificates that listeners show, those above them included, and the time until they end.",
            (
                BROKER,
                Column("listener", "Listener"),
                Column("subject", "Subject"),
                Column("Value", "Ends in", "s", high_is_good(7 * DAYS, 30 * DAYS)),
            ),
            Query(
                f"{each('broker, listener, subject', 'kafka_certificate_expiry_timestamp_seconds')} - time()",
                quiet=NO_TLS,
            ),
        ),
    ),
)
