"""The end of what was kept long enough, of what does not belong to the archive, and of nothing that still counts."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path

import msgspec

from mlops.policy import DecisionLog
from mlops.storage import is_leftover
from pipelines.archive import ARCHIVE, Manifest, write_manifest

__all__ = ["expire", "sweep"]

_ABANDONED_S = 3600.0


def expire(
    decisions: Path, manifest: Manifest, policy: DecisionLog, today: date
) -> tuple[Manifest, dict[str, int]]:
    """Remove the server's files in the archive, and the archive's days, that were kept long enough.

    A row is always in one of the two while it counts: files of the server go before the manifest forgets them, and
    those of the archive after.
    """
    raw_before = (today - timedelta(days=policy.keep_raw_days)).isoformat()
    before = (today - timedelta(days=policy.keep_days)).isoformat()
    old = {name for name, source in manifest.sources.items() if source.last_day < raw_before}
    files_removed = 0
    for name in old:
        if (decisions / name).exists():
            (decisions / name).unlink()
            files_removed += 1
    past = {path for path, file in manifest.files.items() if file.day < before}
    if old or past:
        days_removed = len({manifest.files[path].day for path in past})
        manifest = msgspec.structs.replace(
            manifest,
            files={path: file for path, file in manifest.files.items() if path not in past},
            sources={name: source for name, source in manifest.sources.items() if name not in old},
        )
        write_manifest(decisions, manifest)
        sweep(decisions, manifest)
        return manifest, {"files_removed": files_removed, "days_removed": days_removed}
    return manifest, {"files_removed": 0, "days_removed": 0}


def sweep(decisions: Path, manifest: Manifest) -> None:
    """Remove what does not belong to the archive: what killed runs left, and what was just taken out of it.

    It is for who has the archive's lock. What servers left aside goes once no server can be about to name it.
    """
    archive = decisions / ARCHIVE
    for path in archive.glob("day=*/*"):
        if str(path.relative_to(archive)) not in manifest.files:
            path.unlink()
    for folder in archive.glob("day=*"):
        if not any(folder.iterdir()):
            folder.rmdir()
    for path in [*archive.iterdir(), *decisions.iterdir()]:
        with suppress(FileNotFoundError):  # it has just got its name
            if is_leftover(path) and (path.suffix != ".jsonl" or _age_s(path) > _ABANDONED_S):
                path.unlink()


def _age_s(path: Path) -> float:
    return time.time() - path.stat().st_mtime
