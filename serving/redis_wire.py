"""One connection to Redis: many commands in one round trip, and errors that say what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import redis
from hiredis import pack_command

from mlops.errors import ConfigError, SetupError
from mlops.settings import without_password

__all__ = ["Command", "RedisWire"]

_TIMEOUT_S = 2.0
"""To connect, and to wait for an answer."""

Command = tuple[str | bytes | int, ...]
_pack: Callable[[Command], bytes] = pack_command  # type: ignore[assignment]  # its types know tuples of one only


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
            self._run = ""
            self._connection: Any = pool.make_connection()
        except (ValueError, TypeError, redis.RedisError) as error:
            raise ConfigError(
                f"not the URI of a Redis: {error}", where=self.name, todo="redis://host:port/database"
            ) from None

    def exchange(self, commands: Sequence[Command], *, twice: bool = False) -> list[Any]:
        """Send commands at once; return what each was answered.

        Args:
            twice: if the connection is lost, send them again on a new one: it may have been closed while it was idle.

        Raises:
            SetupError: the server cannot be reached, went away, refused, or did not answer in time. Whether a command
                was done is then not known.
        """
        try:
            return self._exchange(commands)
        except redis.RedisError as error:
            if not (twice and isinstance(error, redis.ConnectionError)):
                raise SetupError(
                    f"the Redis cannot be used: {error}", where=self.name, todo="see that it runs and answers"
                ) from None
        return self.exchange(commands)

    def server_run(self) -> str:
        """The id of this run of the server. It asks nothing as long as the connection lasts, and makes a new one then.

        Raises:
            SetupError: the server cannot be reached, or refused.
        """
        try:
            if self._connection.is_connected:
                self._connection.can_read(0)
        except redis.ConnectionError:  # the server closed it
            self._connection.disconnect()
            self._run = ""
        if not self._run:
            told: bytes = self.exchange([("INFO", "server")], twice=True)[0]
            self._run = dict(line.split(":", 1) for line in told.decode().split() if ":" in line)["run_id"]
        return self._run

    def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        connection = self._connection
        try:
            connection.send_packed_command([b"".join([_pack(command) for command in commands])])
            replies, refused = [], None
            for _ in commands:
                try:
                    replies.append(connection.read_response(disable_decoding=True))
                except redis.ResponseError as error:
                    refused = refused or error
        except BaseException:
            connection.disconnect()  # answers may be under way that nobody waits for
            self._run = ""
            raise
        if refused is not None:
            raise SetupError(f"the Redis refused: {refused}", where=self.name)
        return replies

    def close(self) -> None:
        """End the connection."""
        self._connection.disconnect()
