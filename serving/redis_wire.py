"""One connection to Redis: many commands in one round trip, and errors that say what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis
from hiredis import pack_command
from redis.connection import Connection

from mlops.errors import ConfigError, SetupError
from mlops.settings import without_password

__all__ = ["Command", "Disconnected", "RedisWire"]

_TIMEOUT_S = 2.0
"""To connect, and to wait for an answer."""

Command = tuple[str | bytes | int, ...]


class Disconnected(SetupError):
    """The server cannot be reached, or has closed the connection."""


class RedisWire:
    """A connection, made when it is first needed and again after it was lost. One thread at a time.

    Args:
        uri: `redis://[user:password@]host[:port][/database]`, or `rediss://…` for TLS. Options of redis-py may
            follow as a query.

    Raises:
        ConfigError: it is no such URI.
    """

    def __init__(self, uri: str) -> None:
        self.name = without_password(uri)
        try:
            pool: Any = redis.ConnectionPool.from_url(
                uri, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S
            )
            self._connection: Connection = pool.make_connection()
        except (ValueError, TypeError, redis.RedisError) as error:
            raise ConfigError(
                f"not the URI of a Redis: {error}", where=self.name, todo="redis://host:port/database"
            ) from None

    def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands at once; return what each was answered.

        Raises:
            Disconnected: there is no connection, or none any more.
            SetupError: a command was refused, or not answered in time. Whether it was done is not known.
        """
        connection = self._connection
        try:
            connection.send_packed_command([b"".join([pack_command(command) for command in commands])])
            replies, refused = [], None
            for _ in commands:
                try:
                    replies.append(connection.read_response(disable_decoding=True))
                except redis.ResponseError as error:
                    refused = refused or error
        except redis.RedisError as error:
            connection.disconnect()
            kind = SetupError if isinstance(error, redis.TimeoutError) else Disconnected
            raise kind(
                f"the Redis cannot be used: {error}", where=self.name, todo="see that it runs and answers"
            ) from None
        except BaseException:
            connection.disconnect()  # answers may be under way that nobody waits for
            raise
        if refused is not None:
            raise SetupError(f"the Redis refused: {refused}", where=self.name)
        return replies

    def close(self) -> None:
        """End the connection."""
        self._connection.disconnect()
