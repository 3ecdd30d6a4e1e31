"""Sources and tables in object storage, against a real S3 server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from mlops.errors import ConfigError, InputError, SetupError
from mlops.settings import Settings
from mlops.tables import read_event_table, read_feature_table
from pipelines import lifecycle
from pipelines.progress import heard_by
from pipelines.staged import MANIFEST, current, delivered, fetched, published
from tests.pipelines.object_storage import READER, ObjectStorage, User, object_storage


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStorage]:
    with object_storage(tmp_path_factory.mktemp("storage")) as running:
        yield running


@pytest.fixture(autouse=True)
def writer(storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in storage.environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def place() -> str:
    """A URI under which nothing lies yet."""
    return f"s3://tables/{uuid.uuid4().hex}"


def keys(uri: str) -> set[str]:
    """The names of the objects under `uri`."""
    fs, path = fsspec.core.url_to_fs(uri, use_listings_cache=False)
    return {name.removeprefix(f"{path}/") for name in fs.find(path)}


def put(uri: str, content: bytes = b"x") -> None:
    fs, path = fsspec.core.url_to_fs(uri)
    fs.pipe_file(path, content)


def files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and path.name != MANIFEST
    }


def deliver(uri: str, **contents: str) -> None:
    with delivered(uri) as folder:
        for name, content in contents.items():
            path = folder / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)


def test_a_folder_s_visible_files_are_copied_for_the_block(place: str) -> None:
    for name in ("a.csv", "2018/04/b.csv", "_log/c", ".hidden"):
        put(f"{place}/{name}", name.encode())
    with fetched(place) as folder:
        assert files(folder) == {"a.csv": "a.csv", "2018/04/b.csv": "2018/04/b.csv"}
    assert not folder.exists()


def test_one_file_keeps_its_name(place: str) -> None:
    put(f"{place}/some[1] day.csv", b"text")
    with fetched(f"{place}/some[1] day.csv") as path:
        assert (path.name, path.read_text()) == ("some[1] day.csv", "text")


def test_a_local_path_is_read_where_it_is(tmp_path: Path) -> None:
    for source in (tmp_path, str(tmp_path), tmp_path.as_uri()):
        with fetched(source) as folder:
            assert folder == tmp_path


def test_an_error_about_a_copied_file_names_the_remote_one(place: str) -> None:
    put(f"{place}/raw/day.csv")
    with pytest.raises(InputError) as caught, fetched(f"{place}/raw") as folder:
        raise InputError("is damaged", where=folder / "day.csv")
    assert str(caught.value) == caught.value.line() == f"{place}/raw/day.csv: is damaged"


def test_it_is_said_how_far_a_copy_is(place: str) -> None:
    for number in range(20):
        put(f"{place}/{number}.csv", b"0123456789" * 10_000)
    said: list[str] = []
    with heard_by(said.append), fetched(place):
        pass
    assert said == ["fetched 0.0 MB of 2.0 MB", "fetched 1.6 MB of 2.0 MB"]


def test_what_was_delivered_is_fetched_with_its_names_and_files_beside_it_too(place: str) -> None:
    deliver(place, a="1", day__b="2")
    put(f"{place}/c.csv", b"3")
    with fetched(place) as folder:
        assert files(folder) == {"a": "1", "day/b": "2", "c.csv": "3"}


def test_the_next_version_replaces_the_last_one_and_sends_only_what_changed(place: str) -> None:
    deliver(place, same="1", old="2")
    before = keys(place)
    deliver(place, same="1", new="3")
    after = keys(place)
    assert len(after) == 3  # two files and the manifest
    assert len(before & after) == 2
    with fetched(place) as folder:
        assert files(folder) == {"same": "1", "new": "3"}


def test_a_copy_follows_the_versions_and_keeps_the_files_that_it_has(place: str, tmp_path: Path) -> None:
    deliver(place, same="1", old="2")
    copy = current(tmp_path / "copy", place)
    inode = (copy / "same").stat().st_ino
    deliver(place, same="1", new="3")
    assert files(current(copy, place)) == {"same": "1", "new": "3"}
    assert (copy / "same").stat().st_ino == inode


def test_a_copy_that_was_changed_goes_back_to_the_version_there(place: str, tmp_path: Path) -> None:
    deliver(place, a="1", b="2")
    copy = current(tmp_path / "copy", place)
    (copy / "a").write_text("x")
    (copy / "c").write_text("x")
    (copy / "b").unlink()
    (copy / "a").write_text("longer")
    assert files(current(copy, place)) == {"a": "1", "b": "2"}


def test_a_step_starts_from_the_version_there_and_publishes_its_own(place: str, tmp_path: Path) -> None:
    deliver(place, a="1")
    with published(tmp_path / "here", place) as folder:
        assert files(folder) == {"a": "1"}
        (folder / "b").write_text("2")
    assert files(current(tmp_path / "elsewhere", place)) == {"a": "1", "b": "2"}


def test_a_step_that_fails_publishes_nothing(place: str, tmp_path: Path) -> None:
    deliver(place, a="1")
    with pytest.raises(InputError), published(tmp_path / "here", place) as folder:
        (folder / "b").write_text("2")
        raise InputError("no")
    assert files(current(tmp_path / "here", place)) == {"a": "1"}


def test_an_upload_that_is_killed_leaves_the_old_version_and_the_next_one_cleans_up(
    place: str, tmp_path: Path
) -> None:
    deliver(place, a="old", b="old")
    before = keys(place)
    script = (
        "import sys; from pipelines.staged import delivered\n"
        "with delivered(sys.argv[1]) as folder:\n"
        "    folder.mkdir()\n"
        "    for n in range(400): (folder / f'part-{n}').write_bytes(bytes([n % 250]) * 300_000)\n"
    )
    env = os.environ | {"TMPDIR": str(tmp_path)}  # where it leaves what it was to send
    with subprocess.Popen([sys.executable, "-c", script, place], env=env) as upload:
        deadline = time.monotonic() + 60
        while keys(place) == before and time.monotonic() < deadline and upload.poll() is None:
            time.sleep(0.02)
        upload.send_signal(signal.SIGKILL)
    assert upload.returncode == -signal.SIGKILL
    assert keys(place) > before
    assert files(current(tmp_path / "copy", place)) == {"a": "old", "b": "old"}
    deliver(place, a="new")
    assert files(current(tmp_path / "copy", place)) == {"a": "new"}
    assert len(keys(place)) == 2


def test_other_people_s_files_are_neither_replaced_nor_mixed_with_a_table(place: str, tmp_path: Path) -> None:
    put(f"{place}/thesis.txt")
    with pytest.raises(InputError, match=r"holds other files, such as thesis\.txt"):
        deliver(place, a="1")
    with pytest.raises(InputError, match="holds other files"), published(tmp_path / "here", place):
        pass
    assert keys(place) == {"thesis.txt"}


def test_no_table_at_all_is_said(place: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{place}: no table there; write one: mlops validate"):
        current(tmp_path / "copy", place)


def test_a_manifest_whose_files_are_gone_or_differ_is_said(place: str, tmp_path: Path) -> None:
    deliver(place, a="1", b="2")
    key = next(name for name in keys(place) if name.startswith("a-"))
    put(f"{place}/{key}", b"7")
    with pytest.raises(InputError, match=f"{key}: is not what the table's manifest says"):
        current(tmp_path / "copy", place)
    fs, path = fsspec.core.url_to_fs(place)
    fs.rm_file(f"{path}/{key}")
    with pytest.raises(InputError, match="its manifest lists a file that is gone"):
        current(tmp_path / "copy", place)


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "x/../../a", ""])
def test_a_manifest_cannot_lead_out_of_the_folder(place: str, tmp_path: Path, name: str) -> None:
    part = {"key": "a", "bytes": 1, "sha256": "0"}
    put(f"{place}/{MANIFEST}", msgspec.json.encode({"files": {name: part}}))
    with pytest.raises(InputError, match="not a valid manifest"):
        current(tmp_path / "copy", place)


@pytest.mark.parametrize(
    ("uri", "kind", "said"),
    [
        ("s3://no-such-bucket/x", InputError, "no such bucket, or no file there"),
        ("s3://tables/no/such/key", InputError, "no such bucket, or no file there"),
        ("s3://", ConfigError, "names no bucket or folder"),
        ("s3://tables/../x", ConfigError, "names no bucket or folder"),
        ("nope://tables/x", ConfigError, "no driver for nope://; s3:// needs s3fs, gs:// gcsfs"),
        ("gs://tables/x", SetupError, "the driver for gs:// is not installed: Please install gcsfs"),
    ],
)
def test_a_source_that_is_not_there_is_one_line(uri: str, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind) as caught, fetched(uri):
        pass
    assert f"{uri}: {said}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_target_in_no_bucket_is_said(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="s3://no-such-bucket/x: no such bucket; make it first"):
        deliver("s3://no-such-bucket/x", a="1")


@pytest.mark.parametrize(
    ("user", "said"),
    [
        (READER, "no permission: Access Denied"),
        (User("test-writer", "a-wrong-secret"), "no permission"),
        (User("nobody", "some-secret"), "no permission"),
    ],
)
def test_who_may_not_write_is_told_so_without_the_secret(
    place: str, storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch, user: User, said: str
) -> None:
    for name, value in storage.environment(user).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SetupError, match=f"{said}.*AWS_ACCESS_KEY_ID") as caught:
        deliver(place, a="1")
    assert user.secret not in str(caught.value)


def test_missing_credentials_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(SetupError, match="no credentials found; set AWS_ACCESS_KEY_ID"), fetched("s3://b/x"):
        pass


def test_a_server_that_is_not_there_is_given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(SetupError, match=r"Could not connect.*AWS_ENDPOINT_URL"), fetched("s3://b/x"):
            pass
        assert time.monotonic() - began < 10


def test_an_endpoint_that_is_none_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "nonsense")
    with pytest.raises(ConfigError, match="Invalid endpoint: nonsense"), fetched("s3://b/x"):
        pass


def test_a_password_and_a_signed_query_are_not_shown() -> None:
    uri = "https://user:secret@127.0.0.1:9/events.csv?X-Amz-Signature=secret"
    with pytest.raises(SetupError) as caught, fetched(uri):
        pass
    assert "secret" not in str(caught.value)


def test_a_copy_that_would_not_fit_is_not_begun(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(f"{place}/a.csv", b"x" * 2_000_000)
    full = os.statvfs_result((4096, 4096, 100, 10, 10, 100, 10, 10, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    with pytest.raises(SetupError, match=r"needs 2\.0 MB here, and 0\.0 MB are free.*TMPDIR"), fetched(place):
        pass


def test_validation_and_features_from_and_to_s3_give_the_local_tables(
    spark: SparkSession, place: str, tmp_path: Path
) -> None:
    local = Settings(home=tmp_path / "local", spark_master="local[2]", spark_memory="1g")
    lifecycle.simulate(local, {"customers": 40, "terminals": 60, "days": 6}, tmp_path / "raw")
    lifecycle.simulate(local, {"customers": 40, "terminals": 60, "days": 6}, f"{place}/raw")
    for day in sorted((tmp_path / "raw").glob("*")):  # as somebody else would bring them
        put(f"{place}/foreign/{day.name}", day.read_bytes())
    uris = {f"{name}_uri": f"{place}/{name}" for name in ("events", "quarantine", "features")}
    expected = lifecycle.validate_events(local, tmp_path / "raw")
    lifecycle.compute_features(local)
    for number, source in enumerate(("raw", "foreign")):
        here = msgspec.structs.replace(local, home=tmp_path / f"remote-{number}", **uris)
        result = lifecycle.validate_events(here, f"{place}/{source}")
        assert (result.good, result.source) == (expected.good, f"{place}/{source}")
        lifecycle.compute_features(msgspec.structs.replace(here, home=tmp_path / f"other-{number}"))
        third = msgspec.structs.replace(here, home=tmp_path / f"third-{number}")
        events, features = (
            current(third.events, third.events_uri),
            current(third.features, third.features_uri),
        )
        assert read_event_table(events).fingerprint == read_event_table(local.events).fingerprint
        assert read_feature_table(features).fingerprint == read_feature_table(local.features).fingerprint
        assert sorted_rows(features) == sorted_rows(local.features)


def sorted_rows(folder: Path) -> list[dict[str, object]]:
    table: pa.Table = pq.read_table(folder)
    return table.sort_by("transaction_id").to_pylist()
