"""Pieces of PromQL that the boards share; each turns to nothing, never to a good value, where Klaxon has no facts."""

from __future__ import annotations

from typing import Final

from dashboards.looks import Words


def of(metric: str, **labels: str) -> str:
    """The metric's series of the chosen cluster; a value that begins with ~ is a regular expression, with ! what it must not be."""
    return (
        f"{metric}{{{', '.join(_matcher(name, value) for name, value in {'cluster': '$cluster', **labels}.items())}}}"
    )


def _matcher(name: str, value: str) -> str:
    if value.startswith("~"):
        return f'{name}=~"{value[1:]}"'
    if value.startswith("!"):
        return f'{name}!="{value[1:]}"'
    return f'{name}="{value}"'


def known(metric: str, **labels: str) -> str:
    """One value for the cluster, whoever scraped it: Prometheus's own labels (job, instance) are gone."""
    return f"max by (cluster) ({of(metric, **labels)})"


def each(by: str, metric: str, **labels: str) -> str:
    """One value for each of the named labels."""
    return f"max by (cluster, {by}) ({of(metric, **labels)})"


def rate(by: str, metric: str, **labels: str) -> str:
    return f"sum by (cluster, {by}) (rate({of(metric, **labels)}[$__rate_interval]))"


def zero_if_covered(*collectors: str) -> str:
    """0 while every source of the collectors has fresh and trusted facts, nothing otherwise."""
    covered = of("klaxon_collector_covered", collector=f"~{'|'.join(collectors)}")
    return f"0 * (min by (cluster) ({covered}) == 1)"


def count_or_zero(expr: str, *collectors: str) -> str:
    """How many series of a sparse metric there are; 0 only where their collectors are covered."""
    return f"count by (cluster) ({expr}) or {zero_if_covered(*collectors)}"


def or_none(expr: str, label: str, zero: str) -> str:
    """The rows of a table, or a row that says none: an empty table would look the same when Klaxon is gone."""
    return f'{expr} or on () label_replace({zero}, "{label}", "none", "cluster", ".*")'


def or_nan(expr: str) -> str:
    """NaN where there is nothing: a tile without any series loses its name, one with NaN says NO DATA under its name."""
    return f"{expr} or on () vector(NaN)"


def states(metric: str, by: str, label: str, words: Words, **labels: str) -> str:
    """A metric that has its state in a label as a number for a timeline: the number whose word the state is."""
    parts = (f"{n} * ({of(metric, **labels, **{label: word})} == 1)" for n, (word, _) in words.items())
    return f"max by (cluster, {by}) ({' or '.join(parts)})"


STOPPED: Final = " or ".join(
    (
        f"{of('kafka_controller_alive')} == 0",
        f"{of('kafka_brokers_answering')} == 0",
        f"{of('kafka_partitions_leaderless')} > 0",
        f"{of('kafka_partitions_under_min_isr')} > 0",
        f"{of('ALERTS', alertstate='firing', severity='critical')} > 0",
    )
)
"""Evidence that clients stand still, or soon will."""

WORSE: Final = " or ".join(
    (
        f"{of('kafka_brokers_expected')} - {of('kafka_brokers_answering')} > 0",
        f"{of('kafka_broker_up')} == 0",
        f"{of('kafka_partitions_under_replicated')} > 0",
        f"{of('kafka_log_dir_online')} == 0",
        f"{of('ALERTS', alertstate='firing', severity='warning')} > 0",
    )
)
"""Evidence that something is lost which clients do not feel yet."""

FACTS: Final = " + ".join(
    known(metric)
    for metric in (
        "kafka_controller_alive",
        "kafka_brokers_answering",
        "kafka_partitions_leaderless",
        "kafka_partitions_under_min_isr",
        "kafka_partitions_under_replicated",
    )
)
"""There only where all of it is: what must be known before anything may be called OK."""

UNSEEN: Final = (
    f"{each('collector, source', 'klaxon_collector_covered')} == 0"
    f" unless on (cluster, collector, source) {of('klaxon_collector_supported')} == 0"
)
"""Sources that should have facts and have none; what a cluster cannot give at all is no gap."""

EVERYTHING: Final = (
    f"3 + 0 * max by (cluster) ({STOPPED})"
    f" or 2 + 0 * max by (cluster) ({WORSE})"
    f" or 1 + 0 * ({FACTS} + max by (cluster) ({UNSEEN}))"
    f" or 0 * ({FACTS})"
)
"""Is everything OK? 3 clients stand still, 2 something is lost, 1 a part is not seen, 0 all is seen and well; nothing where there is no evidence and no facts."""

NOT_OK_SECONDS: Final = (
    f"time() - max_over_time(timestamp(({EVERYTHING}) == 0)[3h:30s]) or 10800 + 0 * {known('klaxon_cluster_reachable')}"
)
"""Time since everything was last OK, 3 h at most."""

BROKERS_DOWN: Final = (
    f"max by (cluster) ({of('kafka_brokers_expected')} - {of('kafka_brokers_answering')}"
    f" or count by (cluster) ({each('broker', 'kafka_broker_up')} == 0))"
)
"""Brokers that do not answer, or that the cluster does not count on: the larger number. The first needs no trust in the cluster's word."""

DISK_USED: Final = (
    f"1 - {each('broker, dir', 'kafka_log_dir_usable_bytes')} / {each('broker, dir', 'kafka_log_dir_total_bytes')}"
)

LOG_DIRS_FAILED: Final = count_or_zero(f"{each('broker, dir', 'kafka_log_dir_online')} == 0", "log_dirs")

FULLEST_DISK: Final = f"2 + 0 * max by (cluster) ({of('kafka_log_dir_online')} == 0) or max by (cluster) ({DISK_USED})"
"""Share of the fullest volume that is used, of the brokers that answer; 2 where a log dir has failed."""

GROUP_LAG: Final = f"sum by (cluster, consumergroup) ({each('consumergroup, topic', 'kafka_consumergroup_lag_sum')})"
GROUPS_BEHIND: Final = count_or_zero(
    f"{GROUP_LAG} > on (cluster, consumergroup) {each('consumergroup', 'klaxon_threshold', name='group_lag')}",
    "groups",
    "offsets",
)

ALERTS_SEEN: Final = f'0 * ({known("klaxon_cluster_reachable")} == 1) and on () ALERTS{{alertname="Watchdog"}}'
"""0 while the rules are evaluated where this is asked and Klaxon reaches the cluster; else nothing, since then no alert says nothing."""


def firing(severity: str) -> str:
    return each("alertname, severity, subject", "ALERTS", alertstate="firing", severity=severity)


def alerts_firing(severity: str) -> str:
    return f"count by (cluster) ({firing(severity)}) or {ALERTS_SEEN}"


def firing_for(severity: str) -> str:
    """Seconds for which alerts have been firing, 3 h at most, to the half minute."""
    alerts = firing(severity)
    return f"(time() - min_over_time(timestamp({alerts})[3h:30s])) and {alerts}"


_PULSE: Final = of("klaxon_collector_age_seconds", collector="~cluster|topics", source="cluster")
DATA_AGE: Final = f"max by (cluster) ({_PULSE} + (time() - timestamp({_PULSE})))"
"""Age of the quick facts when they are looked at: Klaxon's word when it was scraped, and the time since."""
