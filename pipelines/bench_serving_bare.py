"""The bare framework: the server's own protocol with a constant answer, as long as that to an event."""

from __future__ import annotations

import asyncio

import uvloop

from serving.connections import Connections, Limits
from serving.http import Request, Response

__all__ = ["main"]

_ANSWER = b'{"event_id":0,"decision_id":"%s","score":0.5,"decision":"approve","model":"m","version":"1"}' % (
    b"0" * 40
)
_LIMITS = Limits(body_bytes=2**23, timeout_s=10.0, idle_s=65.0, connections=4096, held_bytes=2**27)


def main() -> None:
    """Listen on a free port of loopback, print its number, and answer until the process is ended."""
    uvloop.run(_serve())


async def _serve() -> None:
    answer = Response(_ANSWER)
    connections = Connections(lambda _: answer, _failed, lambda *_: None, _LIMITS)
    server = await asyncio.get_running_loop().create_server(connections, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def _failed(request: Request, error: BaseException) -> Response:
    return Response(str(error).encode(), 500, b"text/plain")


if __name__ == "__main__":
    main()
