"""Runs the web application in a thread of its own, on a socket that is bound before anything else starts."""

from __future__ import annotations

import socket
import threading

import uvicorn
from starlette.applications import Starlette


class AddressTaken(Exception):
    """The address cannot be bound; the message names it and says what to do."""


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; raises AddressTaken. Port 0 takes a free one."""
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=128, reuse_port=False
        )
    except OSError as error:
        raise AddressTaken(
            f"cannot listen on {host}:{port} ({error.strerror}): another program, perhaps another Klaxon, has it; end that one or change web.listen"
        ) from error


class WebServer:
    """Serves ``app`` on ``listener`` until ``stop``."""

    def __init__(self, app: Starlette, listener: socket.socket) -> None:
        self._listener = listener
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1, server_header=False
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, name="web", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def stop(self, timeout: float = 2.0) -> None:
        """End within ``timeout`` seconds; a client that hangs does not hold it up."""
        self._server.should_exit = True
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._server.force_exit = True
            self._thread.join(timeout)
        self._listener.close()
