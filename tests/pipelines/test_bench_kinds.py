"""Every kind of aggregate is timed, and what is timed is what is declared."""

from __future__ import annotations

from pathlib import Path

import msgspec

from pipelines.bench_kinds import KINDS, KindsBench, bench_kinds
from pipelines.bench_online import Load


def test_every_kind_is_timed(tmp_path: Path) -> None:
    small = Load(customers=3, terminals=4, before=60, measured=20)
    result = bench_kinds(tmp_path, small, small)
    assert msgspec.json.decode((tmp_path / "kinds.json").read_bytes(), type=KindsBench) == result
    assert [kind.kind for kind in result.kinds] == list(KINDS)
    assert all(0 < kind.p50_ms <= kind.p99_ms and kind.bytes_an_event > 0 for kind in result.kinds)
