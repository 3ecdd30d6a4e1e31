"""A proxy before two Redis servers that turns from one to the other in the middle of a request."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from tests.system.redis_server import RedisServer

__all__ = ["Failover"]


class Failover:
    """What stands before two servers as one address: it drops the connection that a transaction comes on, and from
    then on the second one is what is reached.
    """

    def __init__(self, first: RedisServer) -> None:
        self._port = first.port
        self._second: int | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.uri = first.uri.replace(str(first.port), str(self._listener.getsockname()[1]))
        threading.Thread(target=self._accept, daemon=True).start()

    def fail_at_the_next_transaction(self, second: RedisServer) -> None:
        self._second = second.port

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return  # closed
            far = socket.create_connection(("127.0.0.1", self._port))
            for ends in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):  # the other direction has ended
            while data := source.recv(1 << 16):
                if self._second is not None and b"EVAL" in data:
                    self._port, self._second = self._second, None
                    break
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
