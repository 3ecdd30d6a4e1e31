"""The page is told ids with a history where only this machine reaches the server, and nobody's ids elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.serving.example import World, payment


def _hints(world: World, *more: str, seen: bool = True) -> Any:
    with world.server(*more) as server:
        if seen:
            first = [payment(n, card=41, shop=51, at="2024-03-01T10:00:00") for n in range(3)]
            last = payment(9, card=42, shop=52, at="2024-03-05T12:00:00")
            assert server.post("/v1/score", [*first, last]).status == 200
        told = [server.get("/openapi.json").body["info"]["x-by-hand"] for _ in range(2)]
    assert told[0] == told[1]
    return told[0]


def test_ids_with_a_history_are_told_and_the_time_that_it_has_come_to(world: World) -> None:
    assert _hints(world) == {
        "asks_for_key": False,
        "keys": ["card", "shop"],
        "digits": {},
        "looks_back": "14 days",
        "known": {"card": 42, "shop": 52},
        "newest": "2024-03-05T12:00:00+00:00",
    }


def test_an_empty_store_has_none_until_an_event_came(world: World) -> None:
    with world.server() as server:
        before = server.get("/openapi.json").body["info"]["x-by-hand"]
        assert (before["known"], before["newest"]) == ({}, "")
        server.post("/v1/score", payment(1, card=7))
        assert server.get("/openapi.json").body["info"]["x-by-hand"]["known"]["card"] == 7


def test_one_key_far_ahead_of_the_others_is_not_taken_for_now(world: World) -> None:
    with world.server() as server:
        old = [payment(n, card=n, shop=5, at=f"2024-03-01T10:00:{n:02}") for n in range(20)]
        assert (
            server.post("/v1/score", [*old, payment(99, card=99, shop=6, at="2025-01-01T00:00:00")]).status
            == 200
        )
        told = server.get("/openapi.json").body["info"]["x-by-hand"]
    assert told["known"]["card"] == 18


def test_with_keys_nobody_s_id_is_told(world: World, tmp_path: Path) -> None:
    _hints(world)
    (tmp_path / "api-keys.json").write_text('{"keys": []}')
    (tmp_path / "api-keys.json").chmod(0o600)
    told = _hints(world, "--keys", str(tmp_path / "api-keys.json"), seen=False)
    assert told["asks_for_key"] and told["known"] == {} and told["newest"] == ""
