"""Whether a service that was just rolled out works: a model answers, and some seconds of events are scored.

    SMOKE_KEY=… python3 infra/delivery/smoke.py URL --event JSON --id COLUMN [--time COLUMN] [--seconds 10]

`make smoke` takes them from SMOKE_URL, SMOKE_EVENT, SMOKE_ID and SMOKE_TIME.

It needs no package, and asks for nothing that a gateway keeps inside. SMOKE_KEY is an API key with the scope score. The
events are real ones to the service: their keys' features count them, so take keys that no customer has.
"""

from __future__ import annotations

import argparse
import http.client
import json
import math
import os
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

__all__ = ["main"]

PAUSE_S = 0.05


def main(arguments: Sequence[str]) -> int:
    """Print what was found; 0 if all of it is as it should be, and 2 where it cannot be asked."""
    parser = argparse.ArgumentParser(prog="smoke.py", description=__doc__)
    parser.add_argument("url", help="of the service, such as https://fraud.example.com")
    parser.add_argument("--event", required=True, help="an event as JSON, without its id and time")
    parser.add_argument("--id", required=True, help="the column of the event's id")
    # A fixed time would be refused as too old as soon as the store has forgotten what its windows need.
    parser.add_argument("--time", default="", help="the column of the event's time, which becomes now")
    parser.add_argument("--seconds", type=float, default=10.0, help="(10)")
    said = parser.parse_args(arguments)
    url, number, scored, score = said.url.rstrip("/"), int(time.time() * 1000), 0, math.nan
    event = _event(said.event)
    if not re.match(r"https?://[^/]", url):
        return _refused(
            f"SMOKE_URL says where the service is, such as https://fraud.example.com, not {url!r}"
        )
    if event is None:
        return _refused(f"SMOKE_EVENT is an event as a JSON object, not {said.event!r}")
    if not said.id:
        return _refused("SMOKE_ID is the column of the event's id")
    try:
        model = _ask(f"{url}/v1/model")
        until = time.monotonic() + said.seconds
        while not scored or time.monotonic() < until:
            own: dict[str, Any] = {said.id: number + scored}
            if said.time:
                own[said.time] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            score = _score(_ask(f"{url}/v1/score", event | own))
            scored += 1
            time.sleep(PAUSE_S)
    except (OSError, ValueError, http.client.HTTPException) as error:
        print(f"smoke: {url}: after {scored} events: {error}", file=sys.stderr)
        return 1
    print(f"smoke: {url}: {scored} events scored, the last one {score:g}, by model {model.get('version')}")
    return 0


def _refused(why: str) -> int:
    print(f"smoke: {why}", file=sys.stderr)
    return 2


def _event(text: str) -> dict[str, Any] | None:
    try:
        event = json.loads(text)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


def _score(answer: dict[str, Any]) -> float:
    score = answer.get("score")
    if not isinstance(score, float) or not math.isfinite(score):
        raise ValueError(f"an answer without a score: {answer}")
    return score


def _ask(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """The answer to a request, as JSON.

    Raises:
        OSError: no answer, or none with the status 200.
        ValueError: it is not a JSON object.
    """
    key = os.environ.get("SMOKE_KEY")
    request = urllib.request.Request(
        url,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"} | ({"X-API-Key": key} if key else {}),
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            found = json.load(response)
    except urllib.error.HTTPError as error:
        raise OSError(f"{error.code}: {error.read(500).decode(errors='replace')}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{url}: not a JSON object: {found}")
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
