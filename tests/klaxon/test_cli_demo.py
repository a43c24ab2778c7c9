"""What the command line says of the demo without importing it."""

from __future__ import annotations

import inspect
import subprocess
import sys

from demo import runtime
from klaxon import cli


def test_the_known_good_versions_are_those_of_the_demo() -> None:
    option = inspect.signature(cli.demo).parameters["kafka_version"]
    assert option.default == runtime.DEFAULT_VERSION
    assert ", ".join(runtime.KNOWN_GOOD_VERSIONS) in str(option.annotation)


def test_a_daemon_does_not_load_the_demo() -> None:
    program = "import sys, klaxon.cli, klaxon.daemon; print(sorted({'demo', 'confluent_kafka', 'trustme'} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert told == "[]\n"
