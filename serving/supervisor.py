"""Listens, has workers answer, and starts another where one ends. It does nothing else, so that it does not fail.

The listening socket, the shared block and a line to the supervisor are what a worker inherits. On that line its options
come, as the store's URI may hold a password and command lines can be read by all; the worker says on it when it is
ready, or why it cannot start; and when it breaks, because the other end died in whatever way, the worker drains and no
orphan is left.

Connections that nobody has accepted yet belong to the socket, not to a worker, so a worker that is killed loses only
what it had in hand.
"""

from __future__ import annotations

import errno
import logging
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress

from mlops.errors import ConfigError, SetupError
from serving.instruments import WORKER_RESTARTS
from serving.logs import say_why
from serving.options import Options
from serving.shared import Shared

__all__ = ["BEAT", "BEAT_S", "COMPLAINT", "Supervisor", "allow_connections", "listen"]

BEAT = 2
"""Where in the shared block's area `control` a worker counts the seconds that its event loop turns."""

BEAT_S = 1.0

_BACKLOG = 2048
_FILES = 16_384
_STABLE_S = 5.0
"""A worker that answered for so long did not fail at its start."""

_DELAYS_S = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Before a worker is started in the place of one that ended: the more of them failed in a row, the longer."""

_LONGEST = 1 << 16
_MARGIN_S = 5.0
LOOK_S = 5.0
_MISSES = 6
"""A worker that has not beaten between so many looks hangs. Looks are counted, not seconds, so that a machine which was
paused does not make it seem so."""

_STARTING = 12
"""A worker that is not ready after so many looks hangs, too: a minute, where the usual is a quarter of a second."""

_GIVE_UP = len(_DELAYS_S)
"""So many starts in a row that failed, while no other worker answers: it does not mend by itself."""

COMPLAINT = b"!"
"""What a worker says first on its line when it cannot start, and then why."""

_INTERRUPTED = 130
_SIGNALLED = 128
"""What a shell adds to the number of the signal that ended a process."""

_log = logging.getLogger("serving.supervisor")


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        SetupError: the port is taken, or may not be used.
        ConfigError: there is no such address here.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except socket.gaierror as error:
        raise ConfigError(f"is no address: {error.strerror}", where=host) from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            todo = "end what listens there, or name another with --port"
            raise SetupError(f"port {port} is taken", where=host, todo=todo) from None
        raise SetupError(f"cannot listen on port {port}: {error.strerror}", where=host) from None


def allow_connections() -> None:
    """Raise the limit of open files, which bounds that of connections, as far as it may and makes sense."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class _Place:
    """A worker's place: who has it, since when, and how often those before failed at once."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: subprocess.Popen[bytes] | None = None
        self.line: socket.socket | None = None
        self.ready = False
        self.began = 0.0
        self.start_at = 0.0
        self.failures = 0
        self.unready = 0
        self.beats = 0.0
        self.misses = 0


class Supervisor:
    """Keeps `options.workers` workers running until it is told to end.

    Args:
        listener: what they accept from; it is closed here when they are told to end.
    """

    def __init__(self, options: Options, listener: socket.socket) -> None:
        self._options = options
        self._listener = listener
        self._shared = Shared.create(options.workers)
        self._restarts = self._shared.mine("metrics")
        self._places = [_Place(number) for number in range(options.workers)]
        self._selector = selectors.DefaultSelector()
        self._signals: list[int] = []
        self._answered = False
        self._complaint = ""
        self._stopping = False
        self._code = 0
        self._kill_at = float("inf")
        self._look_at = time.monotonic() + LOOK_S
        host, port = listener.getsockname()[:2]
        self._address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def run(self) -> int:
        """Until SIGTERM (0), SIGINT (130), or until a worker cannot start (its exit code, or 128 and its signal): the
        first time, if it says why, or again and again, while no other answers.
        """
        wakes, wake = socket.socketpair()
        for end in (wakes, wake):
            end.setblocking(False)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda received, _: self._signals.append(received))
        signal.signal(signal.SIGCHLD, lambda *_: None)  # so that it wakes the loop
        self._selector.register(wakes, selectors.EVENT_READ)
        while True:
            self._start_due()
            for key, _ in self._selector.select(self._patience()):
                if key.fileobj is wakes:
                    wakes.recv(4096)
                else:
                    self._hear(key.data)
            for place in self._places:
                if place.process is not None and place.process.poll() is not None:
                    self._ended(place, place.process.returncode)
            if time.monotonic() >= self._look_at:
                self._look()
            if self._signals and not self._stopping:
                name = signal.Signals(self._signals[0]).name
                seconds = self._options.drain_seconds, self._options.grace_seconds
                _log.info("told to end by %s: draining for %g s, and %g s at most after that", name, *seconds)
                self._stop()
            if self._stopping:
                if not any(place.process for place in self._places):
                    if self._signals:
                        _log.info("ended")
                    return _INTERRUPTED if signal.SIGINT in self._signals else self._code
                if time.monotonic() >= self._kill_at:
                    self._kill()

    def _start_due(self) -> None:
        now = time.monotonic()
        for place in self._places:
            if place.process is None and not self._stopping and now >= place.start_at:
                self._start(place)

    def _patience(self) -> float:
        """Seconds until something is due by the clock."""
        dues = [place.start_at for place in self._places if place.process is None and not self._stopping]
        return max(0.0, min([*dues, self._kill_at, self._look_at]) - time.monotonic())

    def _start(self, place: _Place) -> None:
        ours, theirs = socket.socketpair()
        inherited = [theirs.fileno(), self._listener.fileno(), self._shared.descriptor]
        numbers = [*inherited, self._options.workers, place.number, int(not self._answered)]
        # A group of its own, as Ctrl-C at a terminal is for the supervisor, which then tells the workers.
        try:
            place.process = subprocess.Popen(
                [sys.executable, "-m", "serving.worker", *map(str, numbers)],
                stdin=subprocess.DEVNULL,
                pass_fds=inherited,
                process_group=0,
            )
        except OSError as error:
            ours.close()
            what = f"worker {place.number} cannot be started: {error.strerror}"
            self._not_started(place, what, SetupError.exit_code)
            return
        finally:
            theirs.close()
        place.began, place.ready, place.misses, place.line = time.monotonic(), False, 0, ours
        self._selector.register(ours, selectors.EVENT_READ, place)
        with suppress(BrokenPipeError):  # it ended already, which is seen to where it is waited for
            ours.sendall(self._options.to_json() + b"\n")

    def _hear(self, place: _Place) -> None:
        """A worker says that it is ready, that it cannot start, or that it is about to end."""
        assert place.line is not None
        with suppress(ConnectionError):
            if said := place.line.recv(_LONGEST):
                if said.startswith(COMPLAINT):
                    self._complain(place, said[len(COMPLAINT) :].decode())
                    return
                place.ready, place.began, place.misses, place.unready = True, time.monotonic(), 0, 0
                self._complaint = ""
                if not self._answered:
                    self._say(f"serving {said.decode()} on {self._address}")
                self._answered = True
                return
        self._hang_up(place)

    def _complain(self, place: _Place, why: str) -> None:
        """Say why a worker cannot start: once, as others may not be able to for the same reason."""
        if why == self._complaint:
            return
        self._complaint = why
        if self._answered:
            _log.error("worker %d cannot start: %s", place.number, why)
        else:
            say_why(why, self._options.log_format)

    def _hang_up(self, place: _Place) -> None:
        if place.line is not None:
            self._selector.unregister(place.line)
            place.line.close()
            place.line = None

    def _ended(self, place: _Place, code: int) -> None:
        process, place.process = place.process, None
        assert process is not None
        if place.line is not None:
            self._hear(place)  # its last words, if there are any
        self._hang_up(place)
        Shared(self._shared.descriptor, self._shared.workers, place.number).clear()
        if self._stopping:
            return
        if not self._answered and code > 0:
            self._code = code  # it has said why
            self._stop()
            return
        stable = place.ready and time.monotonic() - place.began >= _STABLE_S
        if code == 0 or stable:
            place.failures = 0
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        what = f"worker {place.number} (pid {process.pid}) {how}"
        if place.ready or code == 0:
            self._retry(place, what)
        else:
            self._not_started(place, what, code)

    def _not_started(self, place: _Place, what: str, code: int) -> None:
        """Try again, or end, so that whoever started the server sees it: nobody else would answer who comes."""
        place.unready += 1
        if place.unready >= _GIVE_UP and not any(other.process and other.ready for other in self._places):
            _log.error("ends: no worker answers, and %d in a row could not start: %s", place.unready, what)
            self._code = code if code > 0 else _SIGNALLED - code
            self._stop()
            return
        self._retry(place, what)

    def _retry(self, place: _Place, what: str) -> None:
        """Have the place taken again: at once, or later and later the more often it failed in a row."""
        delay = _DELAYS_S[min(place.failures, len(_DELAYS_S) - 1)]
        place.failures += 1
        place.start_at = time.monotonic() + delay
        self._restarts[WORKER_RESTARTS.at()] += 1
        _log.error("%s; another is started %s", what, f"in {delay:g} s" if delay else "at once")

    def _look(self) -> None:
        """End workers that hang, so that others can take their places."""
        self._look_at = time.monotonic() + LOOK_S
        for place, cells in zip(self._places, self._shared.parts("control"), strict=False):
            place.misses = place.misses + 1 if cells[BEAT] == place.beats else 0
            place.beats = cells[BEAT]
            if place.process is not None and place.misses >= (_MISSES if place.ready else _STARTING):
                what = "hangs" if place.ready else "hangs before it is ready"
                _log.error("worker %d (pid %d) %s and is ended", place.number, place.process.pid, what)
                place.process.kill()

    def _stop(self) -> None:
        """Have the workers drain. From now on the socket is theirs alone, and closes with the last of them."""
        self._stopping = True
        self._listener.close()
        self._kill_at = (
            time.monotonic() + self._options.drain_seconds + self._options.grace_seconds + _MARGIN_S
        )
        for place in self._places:
            if place.process is not None:
                place.process.terminate()

    def _kill(self) -> None:
        self._kill_at = float("inf")
        for place in self._places:
            if place.process is not None:
                _log.error("worker %d (pid %d) did not end in time", place.number, place.process.pid)
                place.process.kill()

    def _say(self, line: str) -> None:
        try:
            print(line, flush=True)
        except BrokenPipeError:  # whoever started it does not read
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
