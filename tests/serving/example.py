"""A small use case, its signed bundle, and a real server process that serves it."""

from __future__ import annotations

import http.client
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import psutil
from onnx import TensorProto, helper, numpy_helper

from mlops.bundle import Decisions, Golden, Schema, write_bundle
from mlops.deployment import Deployed, Deployment, write_deployment
from mlops.features import Calendar, Count, FeatureSet, Mean, Rate, Ratio, Rolling, Sum, Value
from mlops.schema import Column, EventSchema, Label
from mlops.signing import PUBLIC_KEY, ensure_keys
from serving.options import Options, options_of

ROOT = Path(__file__).resolve().parents[2]

EVENTS = EventSchema(
    id="payment",
    time="at",
    columns=(
        Column(name="payment", type="id"),
        Column(name="at", type="timestamp", minimum="2000-01-01", maximum="2100-01-01"),
        Column(name="card", type="id"),
        Column(name="shop", type="id"),
        Column(name="amount", type="decimal", decimals=2, minimum=0, maximum=1_000_000),
        Column(name="items", type="integer", nullable=True),
        Column(name="abroad", type="boolean", nullable=True),
        Column(name="note", type="text", nullable=True),
        Column(name="fraud", type="boolean", nullable=True),
    ),
)
LABEL = Label(column="fraud", delay_days=7)
ALL_IDS = ("payment", "card", "shop")
NUMBERS = Schema(events=EVENTS, label=LABEL, whole_number_ids=ALL_IDS)
TEXTS = Schema(events=EVENTS, label=LABEL)

FEATURES = FeatureSet(
    (
        Value(column="amount"),
        Calendar(part="weekend"),
        Calendar(part="night"),
        Rolling(key="card", agg=Count(), windows=("1d", "7d")),
        Rolling(key="card", agg=Mean(column="amount"), windows=("1d", "7d"), fallback=-1.0),
        Rolling(key="card", agg=Sum(column="items"), windows=("2d",), include_current=False, fallback=-2.0),
        Rolling(key="card", agg=Rate(column="abroad"), windows=("3h", "2d"), delay="1h", fallback=-3.0),
        Rolling(key="shop", agg=Count(), windows=("1d",), include_current=False, prefix="shop_before"),
        Rolling(key="shop", agg=Count(), windows=("1d", "7d"), delay="7d"),
        Rolling(key="shop", agg=Rate(column="fraud"), windows=("1d", "7d"), delay="7d"),
        Ratio(name="to_mean", numerator="amount", denominator="card_mean_amount_7d", fallback=-4.0),
    )
)
DECISIONS = Decisions(review_at=0.5, decline_at=0.6)
FEWER = FeatureSet(FEATURES.features[:4])


def model_bytes(n_features: int, *, seed: int = 0) -> tuple[bytes, np.ndarray]:
    """A logistic model as ONNX, and its weights."""
    weights = np.random.default_rng(seed).normal(0, 0.01, (n_features, 1)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["features", "weights"], ["products"]),
        helper.make_node("Sigmoid", ["products"], ["column"]),
        helper.make_node("Reshape", ["column", "shape"], ["score"]),
    ]
    graph = helper.make_graph(
        nodes,
        "logistic",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, n_features])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [None])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([-1], dtype=np.int64), "shape"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString(), weights


class World:
    """A home with keys, bundles, a pointer, a store and logs."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.pointer = home / "deployments" / "current.json"
        self.store = home / "store"
        self.decisions = home / "decisions"
        self.keys = home / "keys"
        ensure_keys(self.keys)

    def bundle(
        self,
        name: str = "first",
        *,
        features: FeatureSet = FEATURES,
        schema: Schema = NUMBERS,
        seed: int = 0,
        golden_shift: float = 0.0,
        decisions: Decisions | None = DECISIONS,
        model: bytes = b"",
    ) -> tuple[Path, str]:
        """Write a bundle, with another model than one of `seed` if it is given; return its folder and digest."""
        n = len(features.names)
        usual, weights = model_bytes(n, seed=seed)
        rows = np.random.default_rng(1).uniform(0, 5, (8, n)).astype(np.float32)
        scores = 1 / (1 + np.exp(-(rows @ weights)[:, 0].astype(np.float64)))
        path = self.home / "bundles" / name
        digest = write_bundle(
            path,
            keys=self.keys,
            model=model or usual,
            features=features,
            schema=schema,
            decisions=decisions,
            golden=Golden(features=rows.tolist(), scores=(scores + golden_shift).tolist()),
            reference=rows[:2].tolist(),
            card="# A model of nothing",
            evaluation=b"{}",
            report="",
            manifest={
                "name": "example",
                "candidate": name,
                "framework": "scikit-learn",
                "created_at": "2026-01-01T00:00:00+00:00",
                "run_id": "0",
            },
        )
        return path, digest

    def deploy(self, version: str, bundle: tuple[Path, str]) -> None:
        """Point at a bundle."""
        path, digest = bundle
        champion = Deployed(
            version=version, candidate="trees", framework="scikit-learn", uri=str(path), digest=digest
        )
        write_deployment(self.pointer, Deployment(name="example", champion=champion))

    def command(self, port: int = 0, *more: str) -> list[str]:
        """What starts a server; `more` are options that win over these."""
        return [
            *(sys.executable, "-m", "serving", "--pointer", str(self.pointer), "--store", str(self.store)),
            *("--decisions", str(self.decisions), "--public-key", str(self.keys / PUBLIC_KEY)),
            *("--port", str(port), "--poll-seconds", "0.05", "--drain-seconds", "0", "--log-format", "text"),
            *(() if "--keys" in more else ("--no-keys",)),
            *more,
        ]

    def options(self, **changes: Any) -> Options:
        """The options of a server in this process."""
        options = options_of(self.command()[3:], {})
        return msgspec.structs.replace(options, **changes)

    @contextmanager
    def server(self, *more: str, **popen: Any) -> Iterator[Server]:
        """A server with options of its own; what is left of it at the end is ended by SIGTERM."""
        with (self.home / "serving.log").open("ab") as log:
            usual = {"args": self.command(0, *more), "cwd": ROOT, "stdout": subprocess.PIPE, "stderr": log}
            process = subprocess.Popen(**usual | popen)
        try:
            assert process.stdout is not None
            line = process.stdout.readline().decode()
            assert " on http://" in line, (self.home / "serving.log").read_text()
            yield Server(process, line.rsplit(":", 1)[1])
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(timeout=20)
            process.stdout.close()


class Reply(msgspec.Struct):
    """An HTTP answer, its body decoded."""

    status: int
    body: Any
    type: str


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:  # it ended after it was listed
        return False


class Server:
    """A running server, and one connection to it."""

    def __init__(self, process: subprocess.Popen[bytes], port: str) -> None:
        self.process = process
        self.port = int(port)
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def workers(self) -> list[int]:
        """The workers' process ids."""
        return sorted(child.pid for child in psutil.Process(self.process.pid).children() if _lives(child))

    def request(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Send `body` as JSON, or as it is if it is bytes."""
        data = body if isinstance(body, bytes) or body is None else msgspec.json.encode(body)
        self._connection.request(method, path, data, headers or {})
        response = self._connection.getresponse()
        content, type_ = response.read(), response.headers.get("content-type", "")
        return Reply(response.status, msgspec.json.decode(content) if content else None, type_)

    def text(self, path: str) -> str:
        """What a GET answers, as text."""
        self._connection.request("GET", path)
        return self._connection.getresponse().read().decode()

    def local_port(self) -> int:
        """Of this connection."""
        port: int = self._connection.sock.getsockname()[1]
        return port

    def post(self, path: str, body: object) -> Reply:
        return self.request("POST", path, body)

    def get(self, path: str) -> Reply:
        return self.request("GET", path)

    def wait_for(self, field: str, value: object, seconds: float = 60.0) -> Any:
        """Wait until /readyz has `value` in `field`, or something there if `value` is `...`; return the field."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            seen = self.get("/readyz").body[field]
            if seen == value or (value is ... and seen is not None):
                return seen
            time.sleep(0.02)
        raise AssertionError(f"{field} is {seen!r}, not {value!r}")


def payment(number: int, **changes: Any) -> dict[str, Any]:
    """An event as JSON."""
    event = {
        "payment": number,
        "at": f"2024-03-{1 + number % 28:02d}T{number % 24:02d}:15:00",
        "card": number % 7,
        "shop": number % 5,
        "amount": (number % 50) + 0.25,
        "items": number % 4,
        "abroad": number % 3 == 0,
        "note": None,
    }
    return event | changes


def payments(numbers: Sequence[int]) -> list[dict[str, Any]]:
    """Events as JSON."""
    return [payment(number) for number in numbers]
