"""`python -m serving`: one process that answers until it is told to stop."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import uvicorn
import uvloop

from mlops.errors import ConfigError, MlopsError, SetupError
from serving.app import create_app
from serving.follower import Follower

__all__ = ["arguments_of", "main"]


class _Server(uvicorn.Server):
    """Says where it listens once it does."""

    def __init__(self, config: uvicorn.Config, follower: Follower, address: str) -> None:
        super().__init__(config)
        self._follower = follower
        self._address = address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        service = self._follower.service
        what = f"version {service.scorer.version}" if service else "no model yet"
        print(f"serving {what} on {self._address}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve; return the exit code: 0 after SIGTERM, 130 after Ctrl-C, 2 if it could not start."""
    options = arguments_of(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        if not options.store:
            raise ConfigError("no store is named", where="--store", todo="name a folder or redis://host:port")
        if not options.public_key.is_file():
            raise ConfigError("no such key", where=options.public_key, todo="bundles are signed for a key")
        listener = _listen(options.host, options.port)
    except MlopsError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    follower = Follower(options.pointer.absolute(), options.public_key, options.store, options.decisions)
    config = uvicorn.Config(
        create_app(follower, poll_seconds=options.poll_seconds),
        loop="uvloop",
        http="httptools",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=65,
        timeout_graceful_shutdown=10,
    )
    host, port = listener.getsockname()[:2]
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    # uvicorn drains on these signals and then raises them again, for handlers such as these.
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: stopped.append(received))
    uvloop.run(_Server(config, follower, address).serve(sockets=[listener]))
    return 130 if signal.SIGINT in stopped else 0


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise ConfigError(f"{port} is not a port", where="--port", todo="name one from 0 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise SetupError(
                f"port {port} is taken",
                where=host,
                todo="end what listens there, or name another with --port",
            ) from None
        raise SetupError(f"cannot listen on port {port}: {error.strerror}", where=host) from None


def arguments_of(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line's options; those of this process if none are given."""
    parser = argparse.ArgumentParser(prog="python -m serving", description="Score raw events over HTTP.")
    parser.add_argument("--pointer", type=Path, required=True, help="the deployment file to follow")
    parser.add_argument(
        "--store",
        default=os.environ.get("MLOPS_STORE"),
        help="the online store: a folder or redis://host:port; by default $MLOPS_STORE, which may hold a password",
    )
    parser.add_argument("--decisions", type=Path, required=True, help="folder of the decision and label logs")
    parser.add_argument("--public-key", type=Path, required=True, help="PEM file that verifies bundles")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="0 picks a free one")
    parser.add_argument("--poll-seconds", type=float, default=0.5, help="how often the pointer is looked at")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
