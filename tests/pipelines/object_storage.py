"""A real S3 API server for tests: SeaweedFS, on loopback, with two users."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import msgspec

BUCKETS = ("raw-events", "tables")
_PATIENCE_S = 60


class User(msgspec.Struct, frozen=True):
    """A key pair of S3."""

    key: str
    secret: str


WRITER = User("test-writer", "the-writer-s-secret")
READER = User("test-reader", "the-reader-s-secret")


class ObjectStorage(msgspec.Struct, frozen=True):
    """A running server."""

    url: str

    def environment(self, user: User = WRITER) -> Mapping[str, str]:
        """What a process needs to ask as `user`."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": user.key,
            "AWS_SECRET_ACCESS_KEY": user.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }


def _free_ports(count: int) -> list[int]:
    """Ports whose neighbour 10,000 above is free too: the server takes it for gRPC."""
    with ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            first = held.enter_context(socket.socket())
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            if port > 55_000:
                continue
            second = held.enter_context(socket.socket())
            try:
                second.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
            ports.append(port)
        return ports


@contextmanager
def object_storage(folder: Path) -> Iterator[ObjectStorage]:
    """Run the server with its data in `folder`, and two buckets: one user may write, the other only read."""
    identities = [
        {
            "name": user.key,
            "credentials": [{"accessKey": user.key, "secretKey": user.secret}],
            "actions": actions,
        }
        for user, actions in ((WRITER, ["Admin", "Read", "Write", "List"]), (READER, ["Read", "List"]))
    ]
    config = folder / "users.json"
    config.write_text(json.dumps({"identities": identities}))
    master, volume, filer, s3, metrics = _free_ports(5)
    line = [
        Path(sys.executable).with_name("weed"), "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        f"-master.port={master}", "-master.telemetry=false", "-master.volumeSizeLimitMB=64",
        f"-volume.port={volume}", "-volume.max=16", f"-metricsPort={metrics}",
        "-filer", f"-filer.port={filer}", f"-filer.localSocket={folder}/filer.sock",
        "-s3", f"-s3.port={s3}", "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={config}",
        "-s3.autoCreateBucket=false",
    ]  # fmt: skip
    url = f"http://127.0.0.1:{s3}"
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(line, stdout=log, stderr=log, cwd=folder) as server,
    ):
        try:
            _await(f"{url}/healthz", server, folder / "log")
            storage = ObjectStorage(url)
            _make_buckets(storage)
            yield storage
        finally:
            server.kill()


def _await(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if httpx.get(url, timeout=1).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"SeaweedFS did not start:\n{log.read_text()[-2000:]}")


def _make_buckets(storage: ObjectStorage) -> None:
    import s3fs

    fs = s3fs.S3FileSystem(
        key=WRITER.key, secret=WRITER.secret, endpoint_url=storage.url, skip_instance_cache=True
    )
    for bucket in BUCKETS:
        fs.mkdir(bucket)
