"""Broken configurations of every section: each gives one message that names the file, the line, the key and what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from klaxon.config import ConfigError, load

A = "clusters: {a: {bootstrap_servers: ['k:1']}}\n"
"""A good cluster, one line."""


def cluster(inner: str) -> str:
    """A cluster with a section in its fourth line."""
    return f"clusters:\n  a:\n    bootstrap_servers: ['k:1']\n    {inner}\n"


def security(inner: str) -> str:
    return cluster(f"security: {{{inner}}}")


ELSEWHERE = "name a file that Klaxon's user may read, absolute or from the configuration file's folder"
HOST_PORT = "is not host:port; write for example kafka-1:9092, or [2001:db8::1]:9092"
LISTEN = "is not host:port; write for example 127.0.0.1:9308, or 0.0.0.0:9308 for every interface"
NO_FILE = "name a file or folder, absolute or from the configuration file's folder"

BROKEN = {
    "an empty file": (
        "",
        "klaxon.yaml: is empty or no mapping; the smallest configuration has clusters: with bootstrap_servers",
    ),
    "no mapping": (
        "- clusters\n",
        "klaxon.yaml: is empty or no mapping; the smallest configuration has clusters: with bootstrap_servers",
    ),
    "a bracket that stays open": (
        "clusters: {a: {bootstrap_servers: ['k:1'}}\n",
        "klaxon.yaml:1:41: not valid YAML: expected ',' or ']', but got '}'",
    ),
    "a tab": (
        "clusters:\n\ta: {}\n",
        "klaxon.yaml:2:1: not valid YAML: found character '\\t' that cannot start any token",
    ),
    "an unknown tag": (
        A + "data_dir: !secret x\n",
        "klaxon.yaml:2: data_dir: the tag !secret is unknown; for a text write it in quotes",
    ),
    "a key twice": (
        A + "data_dir: a\ndata_dir: b\n",
        "klaxon.yaml:3: data_dir: the key stands twice; keep one of them",
    ),
    "an alias inside its anchor": (
        A + "rules: &r\n  files: [*r]\n",
        "klaxon.yaml:2: rules.files[0]: is nested without end; an alias (*) stands inside its anchor (&)",
    ),
    "a variable that is not set": (
        A + "data_dir: ${NOWHERE}/data\n",
        "klaxon.yaml:2: data_dir: the environment variable NOWHERE is not set; set it or write the value",
    ),
    "an unknown section": (
        A + "alertmanager: []\n",
        "klaxon.yaml:2: alertmanager: there is no such key; did you mean 'alertmanagers'?",
    ),
    "a label's name with a dash": (
        A + "external_labels: {data-center: eu}\n",
        "klaxon.yaml:2: external_labels: 'data-center' is not a label's name; use letters, digits and _",
    ),
    "a window without a time": (
        A + "maintenance: [{name: a, broker: 2}]\n",
        "klaxon.yaml:2: maintenance[0]: a window needs from: and until:, or weekly:, one of them",
    ),
    "a window without an end": (
        A + "maintenance: [{name: a, from: '2026-01-02T22:00:00Z'}]\n",
        "klaxon.yaml:2: maintenance[0]: a window needs both from: and until:",
    ),
    "a window without a zone": (
        A + "maintenance: [{name: a, from: '2026-01-02T22:00:00', until: '2026-01-02T23:00:00Z'}]\n",
        "klaxon.yaml:2: maintenance[0].from: 2026-01-02T22:00:00 is not a time with its zone; write for example 2026-01-02T22:00:00+01:00",
    ),
    "a window that ends before it begins": (
        A + "maintenance: [{name: a, from: '2026-01-02T22:00:00Z', until: '2026-01-02T21:00:00Z'}]\n",
        "klaxon.yaml:2: maintenance[0]: until: must be after from:",
    ),
    "a window twice": (
        A + "maintenance: [&w {name: a, from: '2026-01-02T22:00:00Z', until: '2026-01-02T23:00:00Z'}, *w]\n",
        "klaxon.yaml:2: maintenance: 'a' stands twice; give each window a name of its own",
    ),
    "a day that is none": (
        A + "maintenance: [{name: a, weekly: {days: [monday], from: '02:00', until: '03:00'}}]\n",
        "klaxon.yaml:2: maintenance[0].weekly.days[0]: must be 'mon', 'tue', 'wed', 'thu', 'fri', 'sat' or 'sun', not 'monday'",
    ),
    "a time of day that is none": (
        A + "maintenance: [{name: a, weekly: {days: [mon], from: '2 am', until: '03:00'}}]\n",
        "klaxon.yaml:2: maintenance[0].weekly.from: '2 am' is not a time of day; write for example '02:00'",
    ),
    "a zone that is none": (
        A + "maintenance: [{name: a, weekly: {days: [mon], from: '02:00', until: '03:00', zone: Berlin}}]\n",
        "klaxon.yaml:2: maintenance[0].weekly.zone: 'Berlin' is not a time zone; write for example Europe/Berlin or UTC",
    ),
    "an unknown key of a window": (
        A + "maintenance: [{name: a, brokers: 2}]\n",
        "klaxon.yaml:2: maintenance[0].brokers: there is no such key; did you mean 'broker'?",
    ),
    "no cluster": (
        "web: {}\n",
        "klaxon.yaml:1: clusters: is missing; it has no default",
    ),
    "clusters without any": (
        "clusters: {}\n",
        "klaxon.yaml:1: clusters: must not be empty",
    ),
    "clusters as a list": (
        "clusters: [a]\n",
        "klaxon.yaml:1: clusters: must be a mapping of keys and values",
    ),
    "a name with a blank": (
        "clusters: {'a b': {bootstrap_servers: ['k:1']}}\n",
        "klaxon.yaml:1: clusters.a b: 'a b' cannot name a cluster; use letters, digits, '.', '_' and '-', at most 63",
    ),
    "a cluster without servers": (
        "clusters:\n  a: {}\n",
        "klaxon.yaml:2: clusters.a.bootstrap_servers: is missing; it has no default",
    ),
    "servers as text": (
        "clusters:\n  a:\n    bootstrap_servers: 'k:1,l:1'\n",
        "klaxon.yaml:3: clusters.a.bootstrap_servers: must be a list: [a, b], or one after a dash on each line, not 'k:1,l:1'",
    ),
    "no servers": (
        "clusters: {a: {bootstrap_servers: []}}\n",
        "klaxon.yaml:1: clusters.a.bootstrap_servers: must not be empty",
    ),
    "a server without a port": (
        "clusters: {a: {bootstrap_servers: [kafka-1]}}\n",
        f"klaxon.yaml:1: clusters.a.bootstrap_servers[0]: 'kafka-1' {HOST_PORT}",
    ),
    "a port out of range": (
        "clusters: {a: {bootstrap_servers: ['kafka-1:70000']}}\n",
        f"klaxon.yaml:1: clusters.a.bootstrap_servers[0]: 'kafka-1:70000' {HOST_PORT}",
    ),
    "a URL for a server": (
        "clusters: {a: {bootstrap_servers: ['http://kafka-1']}}\n",
        f"klaxon.yaml:1: clusters.a.bootstrap_servers[0]: 'http://kafka-1' {HOST_PORT}",
    ),
    "a cluster twice": (
        "clusters:\n  a: {bootstrap_servers: ['k:1', 'l:1']}\n  b: {bootstrap_servers: ['m:1', 'l:1']}\n",
        "klaxon.yaml:1: clusters: a and b both have the bootstrap server l:1; watch a cluster once, under one name",
    ),
    "a misspelt key": (
        "clusters: {a: {bootstrap_server: ['k:1'], bootstrap_servers: ['k:1']}}\n",
        "klaxon.yaml:1: clusters.a.bootstrap_server: there is no such key; did you mean 'bootstrap_servers'?",
    ),
    "an unknown protocol": (
        security("protocol: TLS"),
        "klaxon.yaml:4: clusters.a.security.protocol: must be 'PLAINTEXT', 'SSL', 'SASL_PLAINTEXT' or 'SASL_SSL', not 'TLS'",
    ),
    "SASL without a mechanism": (
        security("protocol: SASL_SSL"),
        "klaxon.yaml:4: clusters.a.security: protocol SASL_SSL needs a mechanism, one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER, GSSAPI, AWS_MSK_IAM",
    ),
    "a mechanism without SASL": (
        security("protocol: SSL, mechanism: PLAIN"),
        "klaxon.yaml:4: clusters.a.security: mechanism belongs to protocol SASL_SSL or SASL_PLAINTEXT; protocol is SSL",
    ),
    "PLAIN without a password": (
        security("protocol: SASL_SSL, mechanism: PLAIN, username: klaxon"),
        "klaxon.yaml:4: clusters.a.security: mechanism PLAIN needs username, and password_file or password (one of them)",
    ),
    "a password that is a number": (
        security("protocol: SASL_SSL, mechanism: PLAIN, username: klaxon, password: 20471147"),
        "klaxon.yaml:4: clusters.a.security.password: must be text; quote it",
    ),
    "two passwords": (
        security("protocol: SASL_SSL, mechanism: PLAIN, username: klaxon, password: x, password_file: secret"),
        "klaxon.yaml:4: clusters.a.security: mechanism PLAIN needs username, and password_file or password (one of them)",
    ),
    "a password file that is missing": (
        security("protocol: SASL_SSL, mechanism: PLAIN, username: klaxon, password_file: nowhere"),
        f"klaxon.yaml:4: clusters.a.security.password_file: nowhere cannot be read: No such file or directory; {ELSEWHERE}",
    ),
    "a password file that is a folder": (
        security("protocol: SASL_SSL, mechanism: PLAIN, username: klaxon, password_file: ."),
        f"klaxon.yaml:4: clusters.a.security.password_file: . cannot be read: Is a directory; {ELSEWHERE}",
    ),
    "a password file that is empty": (
        security("protocol: SASL_SSL, mechanism: PLAIN, username: klaxon, password_file: empty"),
        "klaxon.yaml:4: clusters.a.security: password_file (empty) cannot be used: it is empty",
    ),
    "a key of another mechanism": (
        security(
            "protocol: SASL_SSL, mechanism: SCRAM-SHA-512, username: klaxon, password_file: secret, token_file: secret"
        ),
        "klaxon.yaml:4: clusters.a.security: token_file belongs to mechanism OAUTHBEARER; mechanism is SCRAM-SHA-512",
    ),
    "OAUTHBEARER without a source": (
        security("protocol: SASL_SSL, mechanism: OAUTHBEARER, token_url: 'https://login.example/token'"),
        "klaxon.yaml:4: clusters.a.security: mechanism OAUTHBEARER needs token_file, or token_url, client_id and client_secret_file",
    ),
    "a token endpoint that is no address": (
        security(
            "protocol: SASL_SSL, mechanism: OAUTHBEARER, token_url: login, client_id: k, client_secret_file: secret"
        ),
        "klaxon.yaml:4: clusters.a.security.token_url: must be an address like https://login.example.org/oauth2/token",
    ),
    "an extension with a bad name": (
        security("protocol: SASL_SSL, mechanism: OAUTHBEARER, token_file: secret, extensions: {pool-1: x}"),
        "klaxon.yaml:4: clusters.a.security.extensions: 'pool-1' cannot name an extension; use letters, and another word than auth",
    ),
    "AWS in the clear": (
        security("protocol: SASL_PLAINTEXT, mechanism: AWS_MSK_IAM"),
        "klaxon.yaml:4: clusters.a.security: mechanism AWS_MSK_IAM needs protocol SASL_SSL",
    ),
    "TLS files without TLS": (
        security("ca_file: secret"),
        "klaxon.yaml:4: clusters.a.security: ca_file, certificate_file and key_file belong to protocol SSL or SASL_SSL; protocol is PLAINTEXT",
    ),
    "an authority that is no certificate": (
        security("protocol: SSL, ca_file: secret"),
        "klaxon.yaml:4: clusters.a.security: ca_file (secret) cannot be used: there is no certificate (PEM text) in it",
    ),
    "a certificate without its key": (
        security("protocol: SSL, certificate_file: secret"),
        "klaxon.yaml:4: clusters.a.security: certificate_file and key_file belong together; set both or none",
    ),
    "a certificate that is none": (
        security("protocol: SSL, certificate_file: secret, key_file: secret"),
        "klaxon.yaml:4: clusters.a.security: certificate_file, key_file (secret, secret) cannot be used: certificate and key must be PEM text, and key_password_file hold the key's password if it has one",
    ),
    "JMX without targets": (
        cluster("jmx: {targets: {}}"),
        "klaxon.yaml:4: clusters.a.jmx.targets: must not be empty",
    ),
    "a JMX address twice": (
        cluster("jmx: {targets: {1: 'k:2', 2: 'k:2'}}"),
        "klaxon.yaml:4: clusters.a.jmx: nodes 1 and 2 both have k:2; each node has a JMX port of its own",
    ),
    "a JMX port of zero": (
        cluster("jmx: {targets: {1: 'k:0'}}"),
        f"klaxon.yaml:4: clusters.a.jmx.targets[1]: 'k:0' {HOST_PORT}",
    ),
    "a JMX target without a node id": (
        cluster("jmx: {targets: {one: 'k:2'}}"),
        "klaxon.yaml:4: clusters.a.jmx.targets.one: must be a whole number, not 'one'",
    ),
    "the cluster's collector switched off": (
        cluster("collectors: {cluster: {enabled: false}}"),
        "klaxon.yaml:4: clusters.a.collectors.cluster.enabled: must be true, not false",
    ),
    "an interval too short": (
        cluster("collectors: {topics: {interval: 0.1}}"),
        "klaxon.yaml:4: clusters.a.collectors.topics.interval: must be greater than or equal to 1, not 0.1",
    ),
    "an interval in words": (
        cluster("collectors: {topics: {interval: 5s}}"),
        "klaxon.yaml:4: clusters.a.collectors.topics.interval: must be a number, not '5s'",
    ),
    "offsets apart from groups": (
        cluster("collectors: {offsets: {interval: 5}}"),
        "klaxon.yaml:4: clusters.a.collectors: offsets are polled in one job with groups, after the commits; set collectors.groups instead",
    ),
    "a switch that is no boolean": (
        cluster("collectors: {topics: {enabled: 'yes'}}"),
        "klaxon.yaml:4: clusters.a.collectors.topics.enabled: must be true or false, not 'yes'",
    ),
    "an Alertmanager without http": (
        A + "alertmanagers: [{url: 'alertmanager:9093'}]\n",
        "klaxon.yaml:2: alertmanagers[0].url: must be an address like http://alertmanager:9093 or https://example.org/alertmanager",
    ),
    "an Alertmanager with the API's path": (
        A + "alertmanagers: [{url: 'http://am:9093/api/v2'}]\n",
        "klaxon.yaml:2: alertmanagers[0].url: must end before /api/v2, which Klaxon adds",
    ),
    "a password in an Alertmanager's URL": (
        A + "alertmanagers: [{url: 'http://me:hunter22@am:9093'}]\n",
        "klaxon.yaml:2: alertmanagers[0].url: must be without user, query and fragment; for a password use basic_auth.password_file",
    ),
    "an Alertmanager twice": (
        A + "alertmanagers: [{url: 'http://am:9093'}, {url: 'http://am:9093/'}]\n",
        "klaxon.yaml:2: alertmanagers: http://am:9093 stands twice; name each peer once",
    ),
    "two ways into an Alertmanager": (
        A
        + "alertmanagers: [{url: 'http://am', bearer_token_file: secret, basic_auth: {username: k, password_file: secret}}]\n",
        "klaxon.yaml:2: alertmanagers[0]: give basic_auth or bearer_token_file, not both",
    ),
    "a token of an Alertmanager that is missing": (
        A + "alertmanagers: [{url: 'http://am', bearer_token_file: nowhere}]\n",
        f"klaxon.yaml:2: alertmanagers[0].bearer_token_file: nowhere cannot be read: No such file or directory; {ELSEWHERE}",
    ),
    "an Alertmanager's key without certificate": (
        A + "alertmanagers: [{url: 'https://am', tls: {key_file: secret}}]\n",
        "klaxon.yaml:2: alertmanagers[0].tls: cert_file and key_file belong together; give both or none",
    ),
    "a time-out of nothing": (
        A + "alertmanagers: [{url: 'http://am', timeout: 0}]\n",
        "klaxon.yaml:2: alertmanagers[0].timeout: must be greater than 0, not 0",
    ),
    "an Alertmanager without an address": (
        A + "alertmanagers: [{timeout: 5}]\n",
        "klaxon.yaml:2: alertmanagers[0]: give url or srv, one of them",
    ),
    "an Alertmanager with two addresses": (
        A + "alertmanagers: [{url: 'http://am', srv: _am._tcp.example.org}]\n",
        "klaxon.yaml:2: alertmanagers[0]: give url or srv, one of them",
    ),
    "an SRV record that is a host": (
        A + "alertmanagers: [{srv: am.example.org}]\n",
        "klaxon.yaml:2: alertmanagers[0].srv: must be the name of an SRV record like _alertmanager._tcp.example.org",
    ),
    "a prefix beside a url": (
        A + "alertmanagers: [{url: 'http://am', path_prefix: /am}]\n",
        "klaxon.yaml:2: alertmanagers[0]: path_prefix belongs to srv; a url says it itself",
    ),
    "a prefix that is no path": (
        A + "alertmanagers: [{srv: _am._tcp.example.org, path_prefix: am}]\n",
        "klaxon.yaml:2: alertmanagers[0].path_prefix: must be a path like /alertmanager",
    ),
    "an unknown scheme": (
        A + "alertmanagers: [{srv: _am._tcp.example.org, scheme: ftp}]\n",
        "klaxon.yaml:2: alertmanagers[0].scheme: must be 'http' or 'https', not 'ftp'",
    ),
    "look-ups without a pause": (
        A + "alertmanagers: [{srv: _am._tcp.example.org, refresh: 0}]\n",
        "klaxon.yaml:2: alertmanagers[0].refresh: must be greater than or equal to 1, not 0",
    ),
    "a proxy without http": (
        A + "alertmanagers: [{url: 'http://am', proxy_url: 'proxy:3128'}]\n",
        "klaxon.yaml:2: alertmanagers[0].proxy_url: must be an address like http://proxy:3128",
    ),
    "a password in a proxy's URL": (
        A + "alertmanagers: [{url: 'http://am', proxy_url: 'http://me:hunter22@proxy'}]\n",
        "klaxon.yaml:2: alertmanagers[0].proxy_url: must be without user, query and fragment",
    ),
    "two proxies": (
        A + "alertmanagers: [{url: 'http://am', proxy_url: 'http://proxy', proxy_from_environment: true}]\n",
        "klaxon.yaml:2: alertmanagers[0]: give proxy_url or proxy_from_environment, not both",
    ),
    "a header with a blank": (
        A + "alertmanagers: [{url: 'http://am', headers: {'X Key': a}}]\n",
        "klaxon.yaml:2: alertmanagers[0].headers.X Key: 'X Key' cannot name a header; use letters, digits and '-'",
    ),
    "a login as a header": (
        A + "alertmanagers: [{url: 'http://am', headers: {Authorization: Bearer hunter22}}]\n",
        "klaxon.yaml:2: alertmanagers[0].headers.Authorization: Authorization is set by Klaxon; a login is given by basic_auth or bearer_token_file",
    ),
    "a header of two lines": (
        A + "alertmanagers: [{url: 'http://am', headers: {X-Key: \"hunter\\n22\"}}]\n",
        "klaxon.yaml:2: alertmanagers[0].headers.X-Key: must be printable ASCII in one line",
    ),
    "a header that is a number": (
        A + "alertmanagers: [{url: 'http://am', headers: {X-Key: 20471147}}]\n",
        "klaxon.yaml:2: alertmanagers[0].headers.X-Key: must be text; quote it",
    ),
    "a webhook without url": (
        A + "webhooks: [{name: tickets}]\n",
        "klaxon.yaml:2: webhooks[0].url: is missing; it has no default",
    ),
    "a webhook without http": (
        A + "webhooks: [{url: example.org}]\n",
        "klaxon.yaml:2: webhooks[0].url: must be an address like https://example.org/hooks/klaxon",
    ),
    "a key in a webhook's query": (
        A + "webhooks: [{url: 'https://example.org/?key=hunter22'}]\n",
        "klaxon.yaml:2: webhooks[0].url: must be without user, query and fragment; a key goes into headers, a password into basic_auth.password_file",
    ),
    "two webhooks of one name": (
        A + "webhooks: [{url: 'https://h/a'}, {url: 'https://h/b'}]\n",
        "klaxon.yaml:2: webhooks: h is the name of two peers; give each webhook a name of its own",
    ),
    "a webhook's secret that is missing": (
        A + "webhooks: [{url: 'https://h', secret_file: nowhere}]\n",
        f"klaxon.yaml:2: webhooks[0].secret_file: nowhere cannot be read: No such file or directory; {ELSEWHERE}",
    ),
    "a route without labels": (
        A + "routing: [{topic: a}]\n",
        "klaxon.yaml:2: routing[0].labels: is missing; it has no default",
    ),
    "a route by topic and group": (
        A + "routing: [{topic: a, group: b, labels: {team: x}}]\n",
        "klaxon.yaml:2: routing[0]: give topic or group: the subject of an incident is one of them",
    ),
    "a route that is no pattern": (
        A + "routing: [{topic: 'pay(', labels: {team: x}}]\n",
        "klaxon.yaml:2: routing[0].topic: 'pay(' is no regular expression: missing ), unterminated subpattern at position 3",
    ),
    "a route over an incident's own label": (
        A + "routing: [{topic: a, labels: {severity: info}}]\n",
        "klaxon.yaml:2: routing[0].labels.severity: severity is a label of every incident; choose another name",
    ),
    "an empty label": (
        A + "routing: [{topic: a, labels: {team: ''}}]\n",
        "klaxon.yaml:2: routing[0].labels.team: must not be empty, not ''",
    ),
    "an instance by name": (
        A + "instance: left\n",
        "klaxon.yaml:2: instance: must be a whole number, not 'left'",
    ),
    "an instance below zero": (
        A + "instance: -1\n",
        "klaxon.yaml:2: instance: must be greater than or equal to 0, not -1",
    ),
    "a quiet period of a week": (
        A + "incidents: {quiet_period: 604800}\n",
        "klaxon.yaml:2: incidents.quiet_period: must be less than or equal to 86400, not 604800",
    ),
    "an address to listen at without host": (
        A + "web: {listen: '9308'}\n",
        f"klaxon.yaml:2: web.listen: '9308' {LISTEN}",
    ),
    "a port to listen at out of range": (
        A + "web: {listen: '127.0.0.1:99999'}\n",
        f"klaxon.yaml:2: web.listen: '127.0.0.1:99999' {LISTEN}",
    ),
    "an external URL without scheme": (
        A + "web: {external_url: klaxon.example.org}\n",
        "klaxon.yaml:2: web.external_url: 'klaxon.example.org' is not a URL; write for example https://klaxon.example.org",
    ),
    "a data_dir that is a number": (
        A + "data_dir: 7\n",
        "klaxon.yaml:2: data_dir: must be text; quote it, not 7",
    ),
    "a rule file that is missing": (
        A + "rules: {files: [nowhere.yaml]}\n",
        f"klaxon.yaml:2: rules.files[0]: there is no nowhere.yaml; {NO_FILE}",
    ),
    "rule files as text": (
        A + "rules: {files: own.yaml}\n",
        "klaxon.yaml:2: rules.files: must be a list: [a, b], or one after a dash on each line, not 'own.yaml'",
    ),
    "a rule that is no PromQL": (
        A + "rules: {files: [bad-rules.yaml]}\n",
        "bad-rules.yaml:5, group 'own', rule 'A': expr: unclosed left parenthesis: 'sum('",
    ),
    "a tree that is missing": (
        A + "trees: {files: [nowhere.yaml]}\n",
        f"klaxon.yaml:2: trees.files[0]: there is no nowhere.yaml; {NO_FILE}",
    ),
    "a negative limit": (
        A + "thresholds: {group_lag: -1}\n",
        "klaxon.yaml:2: thresholds.group_lag: must be greater than 0, not -1",
    ),
    "a share in percent": (
        A + "thresholds: {disk_used_ratio: 80}\n",
        "klaxon.yaml:2: thresholds.disk_used_ratio: must be less than or equal to 1, not 80",
    ),
    "an override of nothing": (
        A + "thresholds: {overrides: [{cluster: dev, set: {}}]}\n",
        "klaxon.yaml:2: thresholds.overrides[0].set: must not be empty",
    ),
    "a wait in words": (
        A + "incidents: {settle: soon}\n",
        "klaxon.yaml:2: incidents.settle: must be a number, not 'soon'",
    ),
    "a storm limit of zero": (
        A + "incidents: {storm_limit: 0}\n",
        "klaxon.yaml:2: incidents.storm_limit: must be greater than or equal to 1, not 0",
    ),
    "a wait too long": (
        A + "incidents: {close_after: 1e9}\n",
        "klaxon.yaml:2: incidents.close_after: must be less than or equal to 3600, not '1e9'",
    ),
    "a metric that there is not": (
        A + "history: {keep: {kafka_brokrs: 60}}\n",
        "klaxon.yaml:2: history.keep.kafka_brokrs: there is no such metric; did you mean 'kafka_brokers'?",
    ),
    "a metric kept for no time": (
        A + "history: {keep: {kafka_brokers: 0}}\n",
        "klaxon.yaml:2: history.keep.kafka_brokers: must be greater than 0, not 0",
    ),
    "a loud log": (
        A + "log: {level: loud}\n",
        "klaxon.yaml:2: log.level: must be 'debug', 'info', 'warning' or 'error', not 'loud'",
    ),
    "a section without anything in it": (
        A + "log:\n",
        "klaxon.yaml:2: log: must be a mapping of keys and values; nothing stands there",
    ),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("hunter2\n")
    (tmp_path / "empty").write_text("")
    (tmp_path / "bad-rules.yaml").write_text(
        "groups:\n  - name: own\n    rules:\n      - alert: A\n        expr: sum(\n"
    )
    return tmp_path


def problems(folder: Path, text: str, **environment: str) -> list[str]:
    """What is said of a configuration, without the folder."""
    file = folder / "klaxon.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load(file, environment)
    return [problem.replace(f"{folder}/", "") for problem in refused.value.problems]


@pytest.mark.parametrize("name", BROKEN)
def test_one_message_says_where_and_what_would_be_right(folder: Path, name: str) -> None:
    text, said = BROKEN[name]
    assert problems(folder, text) == [said]


def test_a_file_that_may_not_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read everything, so the refusal is made up."""

    def refuse(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    file = folder / "klaxon.yaml"
    file.write_text(A)
    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(ConfigError, match=r"klaxon.yaml: cannot be read: Permission denied; name a file that Klaxon's"):
        load(file, {})


def test_a_file_in_another_encoding_is_named(folder: Path) -> None:
    (folder / "klaxon.yaml").write_bytes(b"clusters: # gr\xfc\xdfe\n")
    with pytest.raises(ConfigError, match=r"klaxon.yaml: is not UTF-8 text \(byte 14\); save it as UTF-8"):
        load(folder / "klaxon.yaml", {})


def test_many_faults_are_all_told(folder: Path) -> None:
    text = """\
clusters:
  a b: {bootstrap_servers: ['k:1']}
  orders:
    bootstrap_servers: [kafka-1, 'kafka-2:9092']
    security: {protocol: SASL_SSL, mechanism: PLAIN, username: klaxon, password_file: nowhere}
    collectors: {topics: {interval: 0}, groups: {intervall: 5}}
alertmanagers: [{url: nowhere}, {url: 'http://am', timeout: -1}]
web: {listen: '9308'}
thresholds: {disk_used_ratio: 80}
log: {level: loud}
"""
    assert problems(folder, text) == [
        "klaxon.yaml:2: clusters.a b: 'a b' cannot name a cluster; use letters, digits, '.', '_' and '-', at most 63",
        f"klaxon.yaml:4: clusters.orders.bootstrap_servers[0]: 'kafka-1' {HOST_PORT}",
        "klaxon.yaml:5: clusters.orders.security.password_file: nowhere cannot be read: No such file or directory; "
        + ELSEWHERE,
        "klaxon.yaml:6: clusters.orders.collectors.topics.interval: must be greater than or equal to 1, not 0",
        "klaxon.yaml:6: clusters.orders.collectors.groups.intervall: there is no such key; did you mean 'interval'?",
        "klaxon.yaml:7: alertmanagers[0].url: must be an address like http://alertmanager:9093 or https://example.org/alertmanager",
        "klaxon.yaml:7: alertmanagers[1].timeout: must be greater than 0, not -1",
        f"klaxon.yaml:8: web.listen: '9308' {LISTEN}",
        "klaxon.yaml:9: thresholds.disk_used_ratio: must be less than or equal to 1, not 80",
        "klaxon.yaml:10: log.level: must be 'debug', 'info', 'warning' or 'error', not 'loud'",
    ]


def test_faults_of_rules_trees_and_metrics_come_together(folder: Path) -> None:
    said = problems(
        folder,
        A
        + "rules: {files: [bad-rules.yaml, nowhere]}\ntrees: {files: [nowhere]}\nhistory: {keep: {kafka_brokrs: 1}}\n",
    )
    assert [line.split(":")[0] for line in said] == ["klaxon.yaml", "klaxon.yaml", "bad-rules.yaml", "klaxon.yaml"]


SECRET = "T0p-s3cret 'quoted' \\ ü"


@pytest.mark.parametrize(
    "text",
    [
        "clusters: {a: {bootstrap_servers: ['${SECRET}']}}",
        "clusters: {a: {bootstrap_servers: ['k:1', 'x${SECRET}y']}}",
        A + "log: {level: '${SECRET}'}",
        A + "web: {listen: '${SECRET}'}",
        A + "web: {external_url: '${SECRET}'}",
        A + "incidents: {settle: '${SECRET}'}",
        A + "alertmanagers: [{url: 'http://me:${SECRET}@am'}]",
        A + "alertmanagers: ['${SECRET}']",
        A + "alertmanagers: [{url: 'http://am', headers: {'X-Key': \"${SECRET}\"}}]",
        A + "webhooks: [{url: '${SECRET}'}]",
        A + "rules: {files: ['${SECRET}']}",
        A + "trees: {files: '${SECRET}'}",
        security("protocol: '${SECRET}'"),
        security("protocol: SSL, ca_file: '${SECRET}'"),
        security("protocol: SASL_SSL, mechanism: '${SECRET}'"),
        security("protocol: SSL, password: '${SECRET}'"),
        security("protocol: SASL_SSL, mechanism: PLAIN, username: k, passwort: '${SECRET}'"),
        security("protocol: SASL_SSL, mechanism: PLAIN, username: k, password: ['${SECRET}']"),
        cluster("jmx: {targets: {1: '${SECRET}'}}"),
        cluster("collectors: {topics: {interval: '${SECRET}'}}"),
    ],
)
def test_what_came_from_the_environment_is_not_told(folder: Path, text: str) -> None:
    for said in problems(folder, text, SECRET=SECRET):
        assert "s3cret" not in said
        assert said.startswith("klaxon.yaml:")


def test_it_is_told_as_it_is_written(folder: Path) -> None:
    (said,) = problems(folder, "clusters: {a: {bootstrap_servers: ['${HOST}:x']}}", HOST="kafka-7")
    assert said == f"klaxon.yaml:1: clusters.a.bootstrap_servers[0]: '${{HOST}}:x' {HOST_PORT}"
    (said,) = problems(folder, A + "log: {level: '${L}'}", L="9")
    assert said.endswith("not '${L}'")
