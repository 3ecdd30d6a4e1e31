"""The block of memory that the workers of a server share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mlops.errors import SetupError
from serving.shared import AREAS, Shared

ROOT = Path(__file__).resolve().parents[2]

ANOTHER = """
import sys
from serving.shared import Shared

shared = Shared(int(sys.argv[1]), 2, 1)
for number, area in enumerate({areas}):
    assert shared.parts(area)[0][0] == number + 1, "does not see the other worker's"
    mine = shared.mine(area)
    for place in range(len(mine)):
        mine[place] = -1.0
shared.write_note(b"from another process")
"""


def test_two_processes_see_each_others_numbers_and_notes_and_change_only_their_own() -> None:
    supervisor = Shared.create(2)
    first = Shared(supervisor.descriptor, 2, 0)
    for number, area in enumerate(AREAS):
        first.mine(area)[0] = number + 1.0
        first.mine(area)[AREAS[area] - 1] = 0.5
    first.write_note(b"mine")
    subprocess.run(
        [sys.executable, "-c", ANOTHER.format(areas=list(AREAS)), str(first.descriptor)],
        cwd=ROOT,
        pass_fds=[first.descriptor],
        timeout=20,
        check=True,
    )
    for number, (area, size) in enumerate(AREAS.items()):
        mine, others, supervisors = first.parts(area)
        assert (mine[0], mine[size - 1], sum(mine)) == (number + 1.0, 0.5, number + 1.5)
        assert others.tolist() == [-1.0] * size
        assert supervisors.tolist() == [0.0] * size
    assert supervisor.notes() == [b"mine", b"from another process", b""]


def test_a_note_is_replaced_as_a_whole_and_may_be_as_long_as_there_is_room() -> None:
    shared = Shared.create(1)
    shared.mine("control")[AREAS["control"] - 1] = 3.0
    shared.write_note(b"x" * 8188)
    assert shared.notes()[1] == b"x" * 8188
    shared.write_note(b"short")
    assert shared.notes() == [b"", b"short"]
    shared.clear()
    assert shared.notes() == [b"", b""]
    assert shared.mine("control")[AREAS["control"] - 1] == 3.0
    with pytest.raises(ValueError, match="8189"):
        shared.write_note(b"x" * 8189)


@pytest.mark.parametrize(("workers", "worker"), [(3, 0), (1, 0), (2, 3), (2, -1)])
def test_a_block_of_another_size_and_a_worker_that_it_has_no_part_for_are_refused(
    workers: int, worker: int
) -> None:
    with pytest.raises(SetupError, match="shared block"):
        Shared(Shared.create(2).descriptor, workers, worker)
