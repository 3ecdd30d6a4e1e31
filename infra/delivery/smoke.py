"""Whether a service that was just rolled out works: ready, and some seconds of events scored without a failure.

    python3 infra/delivery/smoke.py URL --event JSON --id COLUMN [--key KEY] [--seconds 10]

It needs no package. The events are real ones to the service: their keys' features count them, so take ids that no
customer has.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

__all__ = ["main"]

PAUSE_S = 0.05


def main(arguments: Sequence[str]) -> int:
    """Print what was found; 0 if all of it is as it should be."""
    parser = argparse.ArgumentParser(prog="smoke.py", description=__doc__)
    parser.add_argument("url", help="of the service, such as https://fraud.example.com")
    parser.add_argument("--event", required=True, help="an event as JSON, without its id")
    parser.add_argument("--id", required=True, help="the column of the event's id")
    parser.add_argument("--key", default="", help="an API key with the scope score")
    parser.add_argument("--seconds", type=float, default=10.0, help="(10)")
    said = parser.parse_args(arguments)
    number, scored, score = int(time.time() * 1000), 0, math.nan
    try:
        event = json.loads(said.event)
        _ask(f"{said.url}/readyz", said.key)
        until = time.monotonic() + said.seconds
        while not scored or time.monotonic() < until:
            score = _score(_ask(f"{said.url}/v1/score", said.key, event | {said.id: number + scored}))
            scored += 1
            time.sleep(PAUSE_S)
    except (OSError, ValueError) as error:
        print(f"smoke: {said.url}: after {scored} events: {error}", file=sys.stderr)
        return 1
    print(f"smoke: {said.url}: ready, and {scored} events scored, the last one {score:g}")
    return 0


def _score(answer: dict[str, Any]) -> float:
    score = answer.get("score")
    if not isinstance(score, float) or not math.isfinite(score):
        raise ValueError(f"an answer without a score: {answer}")
    return score


def _ask(url: str, key: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """The answer to a request, as JSON.

    Raises:
        OSError: no answer, or none with the status 200.
        ValueError: it is not JSON.
    """
    request = urllib.request.Request(
        url,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"} | ({"X-API-Key": key} if key else {}),
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            found: dict[str, Any] = json.load(response)
            return found
    except urllib.error.HTTPError as error:
        raise OSError(f"{error.code}: {error.read(500).decode(errors='replace')}") from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
