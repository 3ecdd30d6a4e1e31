"""Sends one event after another, from several connections, and says what became of them: to run beside a rollout.

It is one file without packages, so that `python3 - URL … < load.py` runs it wherever there is a Python. An API key with
the scope `score` stands in a file: others on the machine could read an argument.
"""

from __future__ import annotations

import argparse
import http.client
import json
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None, stop: threading.Event | None = None) -> int:
    """Print what was answered, by status; return 1 if anything but 200 came, or a connection broke.

    Args:
        stop: ends it before its time.
    """
    stop = stop or threading.Event()
    parser = argparse.ArgumentParser(prog="load.py", description=__doc__, allow_abbrev=False)
    parser.add_argument("url", help="of the service, such as http://serving")
    parser.add_argument("--event", required=True, type=_event, help="an event as JSON; its id is counted up")
    parser.add_argument("--id", required=True, help="the column of the event's id")
    parser.add_argument(
        "--first", type=int, default=int(time.time() * 1000), help="the first id (the time in ms)"
    )
    parser.add_argument(
        "--vary",
        metavar="COLUMN=COUNT",
        type=_column,
        action="append",
        default=[],
        help="a column that takes numbers below COUNT in turn: events of one customer wait for one another",
    )
    parser.add_argument("--key-file", type=Path, help="an API key with the scope score stands in it")
    parser.add_argument("--seconds", type=float, default=60.0, help="(60; Ctrl-C or SIGTERM ends it before)")
    parser.add_argument("--connections", type=int, default=4, help="(4)")
    said = parser.parse_args(arguments)
    try:
        key = said.key_file.read_text().strip() if said.key_file else ""
    except OSError as error:
        parser.error(f"--key-file: {error}")
    counts: Counter[str] = Counter()
    threads = [
        threading.Thread(target=_send, args=(said, key, n, counts, stop)) for n in range(said.connections)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(dict(sorted(counts.items()))))
    return 0 if set(counts) == {"200"} else 1


def _event(text: str) -> dict[str, Any]:
    """An object of JSON.

    Raises:
        ArgumentTypeError: it is none.
    """
    try:
        event = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"is no JSON: {error}") from None
    if not isinstance(event, dict):
        raise argparse.ArgumentTypeError("is no object of JSON, as an event is one: {...}")
    return event


def _column(text: str) -> tuple[str, int]:
    """`customer_id=500` as name and number.

    Raises:
        ArgumentTypeError: it is not written so.
    """
    name, _, count = text.partition("=")
    if not name or not count.isdecimal() or int(count) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not COLUMN=COUNT, such as customer_id=500")
    return name, int(count)


def _send(
    said: argparse.Namespace, key: str, offset: int, counts: Counter[str], stop: threading.Event
) -> None:
    """A client as most are: it keeps its connection, and opens another where the answer says that this one ends."""
    address = urlsplit(said.url).netloc
    headers = {"Content-Type": "application/json"} | ({"X-API-Key": key} if key else {})
    event, number, until = said.event, said.first + offset, time.monotonic() + said.seconds
    connection = http.client.HTTPConnection(address, timeout=30)
    while time.monotonic() < until and not stop.is_set():
        try:
            varied = {name: number % count for name, count in said.vary}
            body = json.dumps(event | varied | {said.id: number})
            connection.request("POST", "/v1/score", body, headers)
            response = connection.getresponse()
            response.read()
            counts[str(response.status)] += 1
        except (OSError, http.client.HTTPException) as error:
            counts[type(error).__name__] += 1
            connection.close()
        number += said.connections


if __name__ == "__main__":
    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.set())
    sys.exit(main(stop=told))
