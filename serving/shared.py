"""A block of memory that all workers of a server share: numbers and a note of each.

Every worker writes its own part only and reads all of them, so nothing is ever locked. A part outlives its worker: one
that is started in its place goes on counting where the other stopped. The block is an unlinked file without a name, so
it needs no writable folder where the system can make one in memory.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from itertools import accumulate

from mlops.errors import SetupError

__all__ = ["AREAS", "Shared"]

AREAS = {"metrics": 4096, "rates": 4096, "control": 16}
"""Numbers (float64) in each area of a worker's part."""

_DOUBLE = 8
_NOTE = 8192
_LENGTH = struct.Struct("<I")
_CELLS = sum(AREAS.values()) * _DOUBLE
_PART = _CELLS + _NOTE
_BEGINS = dict(zip(AREAS, accumulate(AREAS.values(), initial=0), strict=False))


class Shared:
    """The block, as one process sees it.

    Args:
        descriptor: of the block; it is inherited, and made by `create`.
        workers: how many parts there are. The supervisor has one more, the last.
        worker: whose part is `mine`; the supervisor is `workers`.

    Raises:
        SetupError: the block has not so many parts.
    """

    def __init__(self, descriptor: int, workers: int, worker: int) -> None:
        if not 0 <= worker <= workers or os.fstat(descriptor).st_size != _PART * (workers + 1):
            raise SetupError(f"the shared block is not one of {workers} workers with a worker {worker}")
        self.descriptor = descriptor
        self.workers = workers
        self.worker = worker
        self._map = mmap.mmap(descriptor, _PART * (workers + 1))
        view = memoryview(self._map)
        self._parts = {
            area: [
                view[start : start + size * _DOUBLE].cast("d")
                for start in range(_BEGINS[area] * _DOUBLE, len(view), _PART)
            ]
            for area, size in AREAS.items()
        }

    @classmethod
    def create(cls, workers: int) -> Shared:
        """A new block, all zeros, seen by the supervisor; its descriptor can be inherited."""
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("serving")
        else:
            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        os.ftruncate(descriptor, _PART * (workers + 1))
        return cls(descriptor, workers, workers)

    def mine(self, area: str) -> memoryview[float]:
        """This process's numbers in an area, to be changed in place."""
        return self._parts[area][self.worker]

    def parts(self, area: str) -> list[memoryview[float]]:
        """The numbers of each worker in an area, the supervisor's last."""
        return self._parts[area]

    def write_note(self, text: bytes) -> None:
        """Replace this process's note. A reader may see half of it while it is written, but never for longer.

        Raises:
            ValueError: it is longer than 8,188 bytes.
        """
        if len(text) > _NOTE - _LENGTH.size:
            raise ValueError(f"a note of {len(text)} bytes")
        at = _PART * self.worker + _CELLS
        self._map[at : at + _LENGTH.size + len(text)] = _LENGTH.pack(len(text)) + text

    def notes(self) -> list[bytes]:
        """Each worker's note, the supervisor's last; empty where there is none."""
        found = []
        for part in range(self.workers + 1):
            at = _PART * part + _CELLS
            (length,) = _LENGTH.unpack_from(self._map, at)
            begin = at + _LENGTH.size
            found.append(self._map[begin : begin + length])
        return found

    def clear(self) -> None:
        """Forget this process's note."""
        self.write_note(b"")
