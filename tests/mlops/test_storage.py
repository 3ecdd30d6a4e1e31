"""Files and folders are there whole or not at all."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest

from mlops import storage
from mlops.errors import ConfigError, InputError, SetupError
from mlops.storage import (
    aside,
    bring_back,
    is_leftover,
    local_path,
    one_writer,
    publish_dir,
    read_json,
    replace_file,
    write_json,
)


class Point(msgspec.Struct):
    x: int


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_that_is_replaced_is_the_new_one(tmp_path: Path) -> None:
    for text in ("old", "new"):
        with replace_file(tmp_path / "deep" / "file") as path:
            path.write_text(text)
    assert (tmp_path / "deep" / "file").read_text() == "new"
    assert names(tmp_path / "deep") == ["file"]


def test_a_folder_that_is_replaced_keeps_nothing_of_the_old_one(tmp_path: Path) -> None:
    for name in ("old", "new"):
        with publish_dir(tmp_path / "table") as folder:
            (folder / name).write_text(name)
    assert names(tmp_path) == ["table"]
    assert names(tmp_path / "table") == ["new"]


def test_what_a_killed_task_left_aside_is_not_published(tmp_path: Path) -> None:
    with publish_dir(tmp_path / "table") as folder:
        (folder / "day").mkdir()
        aside(folder / "day" / "part").write_text("half of a p")
        (folder / "day" / "part").write_text("whole")
    assert names(tmp_path / "table" / "day") == ["part"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_writer_leaves_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    write_json(tmp_path / "file", Point(1))
    with publish_dir(tmp_path / "table") as folder:
        (folder / "part").write_text("old")
    with pytest.raises(error), publish_dir(tmp_path / "table") as folder:
        (folder / "part").write_text("half of the n")
        raise error
    with pytest.raises(error), replace_file(tmp_path / "file") as path:
        path.write_text("half of the n")
        raise error
    assert names(tmp_path) == ["file", "table"]
    assert (tmp_path / "table" / "part").read_text() == "old"
    assert read_json(tmp_path / "file", Point) == Point(1)


def test_a_killed_writer_leaves_only_what_is_known_as_a_leftover(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from mlops.storage import publish_dir\n"
        "with publish_dir(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'part').write_text('half'); print('ready', flush=True); time.sleep(60)"
    )
    target = tmp_path / "table"
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", code, target], cwd=root, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
    assert not target.exists()
    assert all(is_leftover(path) for path in tmp_path.iterdir())
    with publish_dir(target) as folder:
        (folder / "part").write_text("whole")
    assert (target / "part").read_text() == "whole"


def leave(folder: Path, *, hours: float) -> Path:
    """What a writer that was killed so long ago has left."""
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "part").write_text("half")
    then = time.time() - 3600 * hours
    for path in (folder / "deep" / "part", folder / "deep", folder):
        os.utime(path, (then, then))
    return folder


def test_what_killed_writers_left_is_removed_when_the_same_folder_is_next_replaced(tmp_path: Path) -> None:
    leave(tmp_path / ".tmp-table-0123abcd", hours=1.1)
    kept = {
        leave(tmp_path / ".tmp-table-00000001", hours=0.9).name,
        leave(tmp_path / ".tmp-table-2-00000002", hours=2).name,  # of the folder table-2
        leave(tmp_path / ".tmp-tables-00000003", hours=2).name,
    }
    running = leave(tmp_path / ".tmp-table-00000004", hours=2)
    (running / "deep" / "part").write_text("more")
    (tmp_path / "table").mkdir()
    with publish_dir(tmp_path / "table"):
        pass
    assert {*names(tmp_path)} == {"table", running.name, *kept}


def test_what_lies_aside_stays_while_there_is_nothing_else(tmp_path: Path) -> None:
    old = leave(tmp_path / ".tmp-table-0123abcd", hours=2)
    with pytest.raises(RuntimeError), publish_dir(tmp_path / "table"):
        raise RuntimeError
    assert names(tmp_path) == [old.name]


def test_a_folder_is_replaced_where_folders_cannot_be_exchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_exchange", lambda one, other: False)
    test_a_folder_that_is_replaced_keeps_nothing_of_the_old_one(tmp_path)


def test_the_old_folder_is_brought_back_where_its_writer_was_killed_between_two_renames(
    tmp_path: Path,
) -> None:
    leave(tmp_path / ".tmp-table-0123abcd", hours=0)
    leave(tmp_path / ".tmp-table-0123abcd-old", hours=0)
    bring_back(tmp_path / "table")
    assert (tmp_path / "table" / "deep" / "part").exists()
    assert names(tmp_path) == [".tmp-table-0123abcd", "table"]
    leave(tmp_path / ".tmp-table-00000001-old", hours=0)
    bring_back(tmp_path / "table")  # is in its place
    assert names(tmp_path) == [".tmp-table-00000001-old", ".tmp-table-0123abcd", "table"]


def test_there_is_a_folder_at_every_moment_of_its_being_replaced(tmp_path: Path) -> None:
    with publish_dir(tmp_path / "table"):
        pass
    code = (
        "import sys; from pathlib import Path; from mlops.storage import publish_dir\n"
        "for _ in range(300):\n"
        "    with publish_dir(Path(sys.argv[1])): pass"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", code, tmp_path / "table"], cwd=root) as process:
        while process.poll() is None:
            assert (tmp_path / "table").exists()
    assert process.returncode == 0


def test_a_writer_waits_for_the_one_before_also_when_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from mlops.storage import one_writer\n"
        "with one_writer(Path(sys.argv[1])):\n"
        "    print('in', flush=True); time.sleep(60)"
    )
    root = Path(__file__).parents[2]
    entered = threading.Event()

    def second() -> None:
        with one_writer(tmp_path):
            entered.set()

    with subprocess.Popen([sys.executable, "-c", code, tmp_path], cwd=root, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        first.stdout.readline()
        waiting = threading.Thread(target=second)
        waiting.start()
        assert not entered.wait(0.3)
        first.kill()
        assert entered.wait(5)
        waiting.join()


def test_a_full_device_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="no space left on the device"), publish_dir(tmp_path / "table"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert names(tmp_path) == []


def test_an_error_names_the_place_that_was_asked_for_and_not_the_one_aside(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError) as error, replace_file(tmp_path / "folder") as path:
        path.touch()
    assert (error.value.filename, error.value.filename2) == (str(tmp_path / "folder"), None)
    with pytest.raises(FileNotFoundError) as error, publish_dir(tmp_path / "table") as folder:
        (folder / "day" / "part").touch()
    assert error.value.filename == str(tmp_path / "table" / "day" / "part")
    assert names(tmp_path) == ["folder"]


@pytest.mark.parametrize("where", [".", ".."])
def test_the_folder_that_one_is_in_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for writing in (publish_dir, replace_file):
        with pytest.raises(ConfigError, match="cannot be replaced from within"), writing(Path(where)):
            pass
    assert names(tmp_path) == ["here"] and names(tmp_path / "here") == []


def test_what_is_not_the_json_asked_for_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_json(tmp_path / "absent", Point)
    (tmp_path / "file").write_text('{"x": "one"}')
    with pytest.raises(InputError, match=r"file: not a valid Point: .*\$\.x"):
        read_json(tmp_path / "file", Point)


class Place(msgspec.Struct):
    path: Path


def test_a_path_comes_back_from_json_as_one(tmp_path: Path) -> None:
    write_json(tmp_path / "file", Place(tmp_path / "a b"))
    assert read_json(tmp_path / "file", Place) == Place(tmp_path / "a b")
    (tmp_path / "file").write_text('{"path": 5}')
    with pytest.raises(InputError, match=r"file: not a valid Place: .*\$\.path"):
        read_json(tmp_path / "file", Place)


@pytest.mark.parametrize("uri", ["http://[::1", "file://[::1", "s3://bucket/x", "file:///tmp/%00"])
def test_what_names_no_path_is_said_to_name_none(uri: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        local_path(uri, base=tmp_path)
