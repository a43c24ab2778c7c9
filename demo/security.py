"""How a demo cluster is secured: listeners, users, certificates, and what brokers, clients and JVMs need to be told of them."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo import certificates
from demo.errors import DemoError

LISTENERS = {
    "PLAINTEXT": "PLAINTEXT",
    "TLS": "SSL",
    "SSL": "SSL",
    "SASL_PLAINTEXT": "SASL_PLAINTEXT",
    "SASL_SSL": "SASL_SSL",
}
"""Listener name to protocol; SSL demands a client's certificate, TLS does not."""

SCRAM = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
MECHANISMS = ("PLAIN", *SCRAM, "OAUTHBEARER")
ADMIN = "admin"
"""The user of the nodes, of the demo's own clients and tools; the only super user."""

JMX_USER = "monitor"
FOLDER = "security"
TOOL_CONFIG = "tools.properties"
SCRAM_ITERATIONS = 4096
TOKEN_LIFETIME_S = 86_400.0 * 30
_MODULE = "org.apache.kafka.common.security"
PLAIN_MODULE = f"{_MODULE}.plain.PlainLoginModule required"
SCRAM_MODULE = f"{_MODULE}.scram.ScramLoginModule required"
OAUTH_MODULE = f"{_MODULE}.oauthbearer.OAuthBearerLoginModule required"


@dataclass(frozen=True, slots=True)
class Security:
    """What is asked for. `listener` is for clients and between brokers, `also` are further ones for clients only.

    OAUTHBEARER is Kafka's unsecured JSON Web Token, made for development: it proves nothing. Raises DemoError for what does not fit together.
    """

    listener: str = "PLAINTEXT"
    mechanism: str = "SCRAM-SHA-512"
    """What clients of a SASL listener use unless they ask for another; brokers offer all."""
    also: tuple[str, ...] = ()
    users: tuple[str, ...] = ("klaxon",)
    """Users beside `admin`: with a password for PLAIN and SCRAM, and a client certificate."""
    authorizer: bool = False
    """StandardAuthorizer: every user but `admin` may do only what `Cluster.allow` granted."""
    jmx_password: bool = False
    jmx_tls: bool = False

    def __post_init__(self) -> None:
        if strangers := [name for name in self.listeners if name not in LISTENERS]:
            raise DemoError(f"there is no listener {strangers[0]!r}; there are: {', '.join(LISTENERS)}")
        if self.mechanism not in MECHANISMS:
            raise DemoError(f"there is no mechanism {self.mechanism!r}; there are: {', '.join(MECHANISMS)}")
        if self.authorizer and self.listener in ("PLAINTEXT", "TLS"):
            raise DemoError(f"an authorizer needs names: on {self.listener} everybody is anonymous, the nodes too")
        if ADMIN in self.users:
            raise DemoError(f"{ADMIN} is a user anyway; name others")

    @property
    def listeners(self) -> tuple[str, ...]:
        return (self.listener, *(name for name in self.also if name != self.listener))

    @property
    def all_users(self) -> tuple[str, ...]:
        return (ADMIN, *self.users)

    @property
    def tls(self) -> bool:
        return any(uses_tls(name) for name in self.listeners)

    @property
    def sasl(self) -> bool:
        return any(uses_sasl(name) for name in self.listeners)

    @property
    def secrets(self) -> bool:
        """Whether there is anything to be kept in files."""
        return self.tls or self.sasl or self.jmx_password or self.jmx_tls


PLAINTEXT = Security()


def named(name: str, **further: Any) -> Security:
    """A Security from one word: a listener's name, or a mechanism for it after a slash, as in SASL_SSL/PLAIN."""
    listener, slash, mechanism = name.partition("/")
    return Security(listener, mechanism, **further) if slash else Security(listener, **further)


def uses_tls(listener: str) -> bool:
    return LISTENERS[listener] in ("SSL", "SASL_SSL")


def uses_sasl(listener: str) -> bool:
    return LISTENERS[listener].startswith("SASL")


# Files ----------------------------------------------------------------------------------------------------------------


def write_files(folder: Path, security: Security, nodes: Mapping[int, str]) -> None:
    """All secrets of a new cluster; `nodes` is node id to its host. Everything is readable by its owner only."""
    folder.mkdir(mode=0o700)
    for user in security.all_users:
        set_password(folder, user, _new_password())
        certificates.write_private(folder / f"{user}.token", unsecured_token(user, time.time()).encode())
    # Between blanks is where the JVM looks for it.
    set_password(folder, JMX_USER, secrets.token_urlsafe(12))
    certificates.make_authority(folder)
    for user in security.all_users:
        certificates.issue(folder, user)
    for node, host in nodes.items():
        issue_node(folder, security, node, host)
    if security.jmx_password:
        # The JVM refuses to start when others may read the first of them.
        certificates.write_private(folder / "jmx.password", f"{JMX_USER} {password(folder, JMX_USER)}\n".encode())
        certificates.write_private(folder / "jmx.access", f"{JMX_USER} readonly\n".encode())
    if security.listener != "PLAINTEXT":
        lines = "".join(f"{key}={value}\n" for key, value in _tool_settings(folder, security).items())
        certificates.write_private(folder / TOOL_CONFIG, lines.encode())


def issue_node(folder: Path, security: Security, node: int, host: str, **validity: Any) -> None:
    """A new certificate of a node, for its listeners and its JMX; `validity` as for `certificates.issue`."""
    certificates.issue(folder, node_name(node), host, **validity)
    if security.jmx_tls:
        store = certificates.write_pkcs12(folder, node_name(node), password(folder, JMX_USER))
        lines = {"keyStore": store, "keyStoreType": "PKCS12", "keyStorePassword": password(folder, JMX_USER)}
        text = "".join(f"javax.net.ssl.{key}={value}\n" for key, value in lines.items())
        # A file, since flags of a JVM are seen by everybody.
        certificates.write_private(folder / f"{node_name(node)}.jmx.properties", text.encode())


def node_name(node: int) -> str:
    return f"node-{node}"


def password(folder: Path, user: str) -> str:
    """The password of a user; raises DemoError when there is no such user."""
    try:
        return (folder / f"{user}.password").read_text().rstrip("\n")
    except FileNotFoundError:
        raise DemoError(f"the cluster has no user {user!r} with a password") from None


def set_password(folder: Path, user: str, new: str) -> None:
    """Note the password that a user has from now on."""
    certificates.write_private(folder / f"{user}.password", f"{new}\n".encode())


def unsecured_token(user: str, now: float, lifetime: float = TOKEN_LIFETIME_S) -> str:
    """A JSON Web Token without a signature (RFC 7515, A.5), as Kafka's OAUTHBEARER for development takes it; `now` in Unix seconds."""
    parts = ({"alg": "none"}, {"sub": user, "iat": now, "exp": now + lifetime})
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join((*encoded, ""))


def _new_password() -> str:
    """With what a careless parser stumbles over."""
    return f"{secrets.token_urlsafe(9)}=, {secrets.token_urlsafe(9)}"


# What others are told -------------------------------------------------------------------------------------------------


def broker_settings(folder: Path, security: Security, node: int, listeners: tuple[str, ...]) -> dict[str, str]:
    """Settings of a node beside the addresses of its `listeners` (names, CONTROLLER among them where it has it)."""
    made: dict[str, str] = {}
    if security.tls:
        made |= {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(folder / f"{node_name(node)}.keystore.pem"),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(folder / certificates.CA_FILE),
            # A certificate's user is called by its common name.
            "ssl.principal.mapping.rules": "RULE:^.*CN=([^,]+).*$/$1/,DEFAULT",
            "listener.name.ssl.ssl.client.auth": "required",
        }
        if security.listener == "SSL":
            made["listener.name.controller.ssl.client.auth"] = "required"
    if uses_sasl(security.listener):
        made |= {"sasl.mechanism.inter.broker.protocol": "PLAIN", "sasl.mechanism.controller.protocol": "PLAIN"}
        # Not SCRAM: its credentials stand in the very log that the controllers have yet to agree on.
        made |= _sasl_listener(folder, security, "controller", ("PLAIN",))
    for name in listeners:
        if name in LISTENERS and uses_sasl(name):
            made |= _sasl_listener(folder, security, name.lower(), MECHANISMS)
    if security.authorizer:
        super_users = [ADMIN, *(node_name(n) for n in _all_nodes(folder))]
        made |= {
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": ";".join(f"User:{name}" for name in super_users),
        }
    return made


def _all_nodes(folder: Path) -> list[int]:
    return sorted(int(path.name.split(".")[0].removeprefix("node-")) for path in folder.glob("node-*.key"))


def _sasl_listener(folder: Path, security: Security, name: str, mechanisms: tuple[str, ...]) -> dict[str, str]:
    prefix = f"listener.name.{name}"
    known = " ".join(f"user_{user}={_quoted(password(folder, user))}" for user in security.all_users)
    login = f"username={_quoted(ADMIN)} password={_quoted(password(folder, ADMIN))}"
    modules = {
        "PLAIN": f"{PLAIN_MODULE} {login} {known};",
        **dict.fromkeys(SCRAM, f"{SCRAM_MODULE};"),
        "OAUTHBEARER": f"{OAUTH_MODULE} unsecuredLoginStringClaim_sub={_quoted(ADMIN)};",
    }
    made = {f"{prefix}.sasl.enabled.mechanisms": ",".join(mechanisms)}
    return made | {f"{prefix}.{m.lower()}.sasl.jaas.config": modules[m] for m in mechanisms}


def _quoted(value: str) -> str:
    """A value of a JAAS line."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _tool_settings(folder: Path, security: Security) -> dict[str, str]:
    """The --command-config of Kafka's tools as `admin`, by the mechanism that brokers and controllers both know."""
    made = {"security.protocol": LISTENERS[security.listener]}
    if uses_sasl(security.listener):
        login = f"username={_quoted(ADMIN)} password={_quoted(password(folder, ADMIN))}"
        made |= {"sasl.mechanism": "PLAIN", "sasl.jaas.config": f"{PLAIN_MODULE} {login};"}
    if uses_tls(security.listener):
        made |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": str(folder / certificates.CA_FILE)}
    if security.listener == "SSL":
        made |= {"ssl.keystore.type": "PEM", "ssl.keystore.location": str(folder / f"{ADMIN}.keystore.pem")}
    return made


def scram_credentials(folder: Path, security: Security) -> list[str]:
    """The --add-scram arguments of the format tool; salted already, so no password shows among the arguments."""
    if not security.sasl:
        return []
    made = []
    for user in security.all_users:
        for mechanism, digest in SCRAM.items():
            salt = secrets.token_bytes(16)
            salted = hashlib.pbkdf2_hmac(digest, password(folder, user).encode(), salt, SCRAM_ITERATIONS)
            parts = {
                "name": user,
                "iterations": SCRAM_ITERATIONS,
                "salt": f'"{base64.b64encode(salt).decode()}"',
                "saltedpassword": f'"{base64.b64encode(salted).decode()}"',
            }
            made += ["--add-scram", f"{mechanism}=[{','.join(f'{key}={value}' for key, value in parts.items())}]"]
    return made


def client_settings(
    folder: Path, security: Security, user: str, listener: str | None = None, mechanism: str | None = None
) -> dict[str, Any]:
    """What librdkafka needs beside the addresses."""
    listener = listener or security.listener
    mechanism = mechanism or security.mechanism
    if listener == "PLAINTEXT":
        return {}
    made: dict[str, Any] = {"security.protocol": LISTENERS[listener]}
    if uses_tls(listener):
        made["ssl.ca.location"] = str(folder / certificates.CA_FILE)
    if listener == "SSL":
        made |= {
            "ssl.certificate.location": str(folder / f"{user}.pem"),
            "ssl.key.location": str(folder / f"{user}.key"),
        }
    if uses_sasl(listener):
        made["sasl.mechanism"] = mechanism
        if mechanism == "OAUTHBEARER":
            made |= {"enable.sasl.oauthbearer.unsecure.jwt": True, "sasl.oauthbearer.config": f"principal={user}"}
        else:
            made |= {"sasl.username": user, "sasl.password": password(folder, user)}
    return made


def klaxon_block(
    folder: Path, security: Security, user: str, listener: str | None = None, mechanism: str | None = None
) -> dict[str, Any]:
    """The `security:` section of a Klaxon that comes in as `user`."""
    listener = listener or security.listener
    made: dict[str, Any] = {"protocol": LISTENERS[listener]}
    if uses_tls(listener):
        made["ca_file"] = str(folder / certificates.CA_FILE)
    if listener == "SSL":
        made |= {"certificate_file": str(folder / f"{user}.pem"), "key_file": str(folder / f"{user}.key")}
    if uses_sasl(listener):
        made["mechanism"] = mechanism or security.mechanism
        if made["mechanism"] == "OAUTHBEARER":
            made["token_file"] = str(folder / f"{user}.token")
        else:
            made |= {"username": user, "password_file": str(folder / f"{user}.password")}
    return made


def jmx_block(folder: Path, security: Security) -> dict[str, Any]:
    """What the `jmx:` section of a Klaxon says beside transport and targets."""
    made: dict[str, Any] = {}
    if security.jmx_password:
        made |= {"username": JMX_USER, "password_file": str(folder / f"{JMX_USER}.password")}
    if security.jmx_tls:
        made["tls"] = {"ca_file": str(folder / certificates.CA_FILE)}
    return made


def jmx_flags(folder: Path, security: Security, node: int) -> list[str]:
    """JVM flags for the way into JMX; registry and objects share TLS, since they share one port."""
    prefix = "-Dcom.sun.management.jmxremote"
    flags = [
        f"{prefix}.authenticate={str(security.jmx_password).lower()}",
        f"{prefix}.ssl={str(security.jmx_tls).lower()}",
    ]
    if security.jmx_password:
        flags += [
            f"{prefix}.password.file={folder / 'jmx.password'}",
            f"{prefix}.access.file={folder / 'jmx.access'}",
            # Else the JVM writes hashes over the passwords, and with three of them on one file.
            f"{prefix}.password.toHashes=false",
        ]
    if security.jmx_tls:
        flags += [
            f"{prefix}.registry.ssl=true",
            f"{prefix}.ssl.config.file={folder / f'{node_name(node)}.jmx.properties'}",
        ]
    return flags
