"""One connection to Redis: many commands in one round trip, and errors that say what to do."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import redis
from hiredis import pack_command

from mlops.errors import ConfigError, SetupError
from mlops.settings import without_password

__all__ = ["Command", "RedisWire", "without_prefix"]

T = TypeVar("T")
_TIMEOUT_S = 1.0
"""To connect, and to wait for an answer: less than a probe waits, as a server answers nobody meanwhile. An option
`socket_timeout` in the URI says otherwise."""

_REST_S = 1.0
"""Where no answer came in time nothing is asked for so long: what a server is asked meanwhile fails at once."""

Command = tuple[str | bytes | int, ...]
_pack: Callable[[Command], bytes] = pack_command  # type: ignore[assignment]  # its types know tuples of one only


class RedisWire:
    """A connection, made when it is first needed and again after it was lost. One thread at a time.

    Once somebody has asked for the server's run, nothing is sent to another run before he has asked again: it may have
    forgotten what the one before knew.

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
            self._run = ""  # of the connection, where it is known
            self._told = ""  # the last one that somebody was told
            self._rests_until = 0.0
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
            SetupError: the server cannot be reached, went away, refused, did not answer in time, now or a moment ago,
                or is another run than was told last. Whether a command was done is then not known.
        """
        return self._tried(lambda: self._exchange_in_run(commands), twice=twice)

    def server_run(self) -> str:
        """The id of this run of the server. It asks nothing as long as the connection lasts, and makes a new one then.

        Raises:
            SetupError: the server cannot be reached, or refused.
        """
        try:
            if self._connection.is_connected:
                self._connection.can_read(0)
            else:
                self._run = ""
        except redis.ConnectionError:  # the server closed it
            self._connection.disconnect()
            self._run = ""
        if not self._run:
            self._run = self._tried(self._ask_run, twice=True)
        self._told = self._run
        return self._run

    def _tried(self, act: Callable[[], T], *, twice: bool) -> T:
        if time.monotonic() < self._rests_until:
            raise SetupError(
                "the Redis cannot be used: it did not answer in time a moment ago",
                where=self.name,
                todo="see that it runs and answers",
            )
        try:
            return act()
        except redis.RedisError as error:
            if isinstance(error, redis.TimeoutError):
                self._rests_until = time.monotonic() + _REST_S
            if not (twice and isinstance(error, redis.ConnectionError)):
                raise SetupError(
                    f"the Redis cannot be used: {error}", where=self.name, todo="see that it runs and answers"
                ) from None
        return self._tried(act, twice=False)

    def _exchange_in_run(self, commands: Sequence[Command]) -> list[Any]:
        if self._told:
            self._run = self._run or self._ask_run()
            if self._run != self._told:
                raise SetupError(
                    "the Redis was restarted, or is another one",
                    where=self.name,
                    todo="send the request again",
                )
        return self._exchange(commands)

    def _ask_run(self) -> str:
        said: bytes = self._exchange([("INFO", "server")])[0]
        run = dict(line.split(":", 1) for line in said.decode().split() if ":" in line).get("run_id")
        if not run:
            raise SetupError("the Redis does not say which run of it this is", where=self.name)
        return run

    def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        connection = self._connection
        try:
            connection.send_packed_command(
                [b"".join([_pack(command) for command in commands])], check_health=False
            )
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


def without_prefix(uri: str) -> tuple[str, str]:
    """A store's URI as Redis knows it, and what the names of the store's keys begin with."""
    parts = urlsplit(uri)
    query = parse_qsl(parts.query)
    prefix = dict(query).get("prefix", "mlops")
    rest = urlencode([(name, value) for name, value in query if name != "prefix"])
    return urlunsplit(parts._replace(query=rest)), prefix
