"""What came of a training: the gate's verdicts, and which version they let in."""

from __future__ import annotations

import msgspec

from training.gate import Verdict

__all__ = ["RELEASE", "Release"]

RELEASE = "release.json"


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate said of each candidate; `version` is the registry's of the best that it admitted, if any."""

    verdicts: dict[str, Verdict]
    candidate: str | None
    version: str | None

    @property
    def sentence(self) -> str:
        """The outcome in a few words."""
        if self.version is None:
            return f"the gate refused all {len(self.verdicts)} candidates"
        return f"the gate admitted {self.candidate} as version {self.version}"
