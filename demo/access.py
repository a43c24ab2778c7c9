"""What is changed on a secured cluster while it runs: rights, passwords and certificates."""

from __future__ import annotations

import secrets as random_secrets
from collections.abc import Sequence
from typing import Any

from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from demo import kafka, security, settings
from demo.cluster import Cluster
from demo.errors import DemoError

REQUEST_LIMIT_S = 30.0
EVERYTHING = {
    ResourceType.TOPIC: "*",
    ResourceType.GROUP: "*",
    ResourceType.BROKER: "kafka-cluster",
    ResourceType.TRANSACTIONAL_ID: "*",
}
"""Kind of resource to the name of all; librdkafka calls the cluster BROKER."""


def allow(
    cluster: Cluster,
    user: str,
    operations: Sequence[str] = ("DESCRIBE",),
    resources: Sequence[ResourceType] = tuple(EVERYTHING),
) -> None:
    """Let a user do operations (Kafka's names, like DESCRIBE) on all resources of these kinds; raises DemoError without an authorizer."""
    if not cluster.security.authorizer:
        raise DemoError("everybody may do everything: start the cluster with Security(authorizer=True)")
    wanted = [
        AclBinding(
            kind, EVERYTHING[kind], ResourcePatternType.LITERAL, f"User:{user}", "*",
            AclOperation[operation], AclPermissionType.ALLOW,
        )
        for kind in resources
        for operation in operations
    ]  # fmt: skip
    client = kafka.admin(cluster.live)
    for future in client.create_acls(wanted, request_timeout=REQUEST_LIMIT_S).values():
        future.result()


def set_password(cluster: Cluster, user: str, new: str | None = None) -> str:
    """Give a user a new SCRAM password (default: made up) and note it in its password file; returns it.

    The passwords for PLAIN stand in the brokers' settings and stay.
    """
    new = new or random_secrets.token_urlsafe(16)
    client = kafka.admin(cluster.live)
    for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
        credential = ScramCredentialInfo(mechanism, security.SCRAM_ITERATIONS)
        wanted = UserScramCredentialUpsertion(user, credential, new.encode())
        for future in client.alter_user_scram_credentials([wanted]).values():
            future.result()
    security.set_password(cluster.secrets, user, new)
    return new


def reissue(cluster: Cluster, node_id: int, **validity: Any) -> None:
    """Give a node a new certificate on disk; `validity` as for `certificates.issue`. In force after `reload` or a restart."""
    security.issue_node(cluster.secrets, cluster.security, cluster.node(node_id).id, settings.HOST, **validity)


def reload(cluster: Cluster, node_id: int) -> None:
    """Make a running broker take up its certificate files for new connections.

    Kafka refuses one that its own listener between brokers would not trust (expired, for instance): restart the node then.
    """
    store = str(cluster.secrets / f"{security.node_name(node_id)}.keystore.pem")
    listeners = [name for name in cluster.security.listeners if security.uses_tls(name)]
    changes = {f"listener.name.{name.lower()}.ssl.keystore.location": store for name in listeners}
    kafka.alter_config(cluster.live, ConfigResource.Type.BROKER, str(node_id), changes)
