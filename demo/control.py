"""Asks the supervisor of a running demo cluster for one operation, from any process, over the socket in its folder."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from demo import state
from demo.errors import ClusterGone, DemoError

REQUEST_LIMIT_S = 10.0
# sockaddr_un holds 108 bytes on Linux, 104 on macOS.
SOCKET_PATH_LIMIT = 100


def request(folder: Path, operation: str, **arguments: Any) -> Any:
    """Ask the supervisor of a folder for one operation, from any process; raises ClusterGone when nobody answers."""
    path = state.read(folder).socket
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
            channel.settimeout(REQUEST_LIMIT_S)
            channel.connect(path)
            channel.sendall(json.dumps({"operation": operation, **arguments}).encode() + b"\n")
            with channel.makefile("rb") as reader:
                line = reader.readline()
    except OSError as error:
        raise ClusterGone(
            f"the demo cluster in {folder} does not answer ({error}); start one with: klaxon demo"
        ) from error
    if not line:
        raise ClusterGone(f"the demo cluster in {folder} ended while it was asked to {operation}")
    answer = json.loads(line)
    if "error" in answer:
        raise DemoError(answer["error"])
    return answer.get("result")
