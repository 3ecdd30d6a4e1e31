"""Other model servers, with the same model, to be timed beside ours: each in a virtual environment of its own.

Each serves the scikit-learn model as its documentation shows for one, with one worker where it has a choice, and is
asked for the classes' probabilities of one row. Where its settings have one that is faster on a single core, it has it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import joblib  # type: ignore[import-untyped]
import msgspec
import sklearn

from mlops.errors import ParityError, SetupError
from pipelines.bench_serving_load import Cores, Rate, closed_loop, started
from pipelines.bench_serving_world import ServedWorld
from pipelines.ports import free_port

__all__ = ["PEERS", "Peer", "PeerServer", "measure_peer"]

_INSTALL_S = 900
_TOLERANCE = 1e-5  # as between a model and its ONNX graph
_BODIES = 1_000

_SAVE_WITH_MLFLOW = """
import sys, joblib, mlflow.sklearn, pandas
from mlflow.models import infer_signature
model, signature = joblib.load("model.joblib"), None
if sys.argv[1:]:
    rows = pandas.DataFrame([[0.5] * len(sys.argv[1:])] * 2, columns=sys.argv[1:])
    signature = infer_signature(rows, model.predict_proba(rows.to_numpy()))
mlflow.sklearn.save_model(
    model, "model", pyfunc_predict_fn="predict_proba", signature=signature,
    skops_trusted_types=["sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"],
)
"""
_BENTO = """
import bentoml, joblib
import numpy as np

@bentoml.service(workers=1)
class Trees:
    def __init__(self) -> None:
        self.model = joblib.load("model.joblib")

    @bentoml.api
    def predict(self, features: np.ndarray) -> np.ndarray:
        return self.model.predict_proba(features)
"""


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of one.

    Fields:
        rates: of each round. rps: their median; None where it could not be run, and `failed` says what was seen.
        command: how it was started. asked: the route and one body. versions: of what it runs on.
    """

    rps: float | None = None
    rates: tuple[Rate, ...] = ()
    command: str = ""
    asked: str = ""
    versions: dict[str, str] = {}
    failed: str = ""


class PeerServer(msgspec.Struct, frozen=True, kw_only=True):
    """How to run one.

    Fields:
        venv: the name of its environment. packages: what is installed there, beside scikit-learn in this process's
            version.
        prepare: writes what it serves into a folder that holds `model.joblib`.
        arguments: of its command, there.
        path, body: how it is asked for the score of a row of named features. scores: finds the class probabilities
            in its answer.
        health: the path that answers 200 once it can be asked.
    """

    venv: str
    packages: tuple[str, ...]
    prepare: Callable[[Path, Path, int, Sequence[str]], None]
    arguments: Callable[[Path, int], list[str]]
    path: str
    health: str
    body: Callable[[Sequence[str], list[float]], Any]
    scores: Callable[[Any], list[float]]


def _prepare_mlflow(venv: Path, folder: Path, port: int, names: Sequence[str]) -> None:
    _run([str(venv / "bin" / "python"), "-c", _SAVE_WITH_MLFLOW, *names], folder)


def _prepare_mlflow_tensor(venv: Path, folder: Path, port: int, names: Sequence[str]) -> None:
    _prepare_mlflow(venv, folder, port, ())


def _prepare_mlserver(venv: Path, folder: Path, port: int, names: Sequence[str]) -> None:
    model = {
        "name": "trees",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": "./model.joblib"},
    }
    settings = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": free_port(),
        "metrics_port": free_port(),
        "parallel_workers": 0,  # a pool, even of one, costs more on one core: rows go to it and back
    }
    (folder / "model-settings.json").write_text(json.dumps(model))
    (folder / "settings.json").write_text(json.dumps(settings))


def _prepare_bentoml(venv: Path, folder: Path, port: int, names: Sequence[str]) -> None:
    (folder / "service.py").write_text(_BENTO)


_MLFLOW = PeerServer(
    venv="mlflow",
    packages=("mlflow==3.17.2",),
    prepare=_prepare_mlflow,
    arguments=lambda folder, port: [
        *("mlflow", "models", "serve", "--model-uri", str(folder / "model"), "--env-manager", "local"),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
    ],
    path="/invocations",
    health="/ping",
    body=lambda names, row: {"dataframe_split": {"columns": list(names), "data": [row]}},
    scores=lambda answer: answer["predictions"][0],
)
PEERS = {
    # With a signature, which MLflow's documentation asks for, and named features, as it shows first.
    "mlflow": _MLFLOW,
    # The least that it can be asked to do: a model without a signature, and a bare array.
    "mlflow-tensor": msgspec.structs.replace(
        _MLFLOW, prepare=_prepare_mlflow_tensor, body=lambda names, row: {"inputs": [row]}
    ),
    "mlserver": PeerServer(
        venv="mlserver",
        # Its workers ask for the current event loop, and with a newer uvloop they end of that.
        packages=("mlserver==1.7.1", "mlserver-sklearn==1.7.1", "uvloop<0.22"),
        prepare=_prepare_mlserver,
        arguments=lambda folder, port: ["mlserver", "start", str(folder)],
        path="/v2/models/trees/infer",
        health="/v2/models/trees/ready",
        body=lambda names, row: {
            "inputs": [{"name": "features", "shape": [1, len(row)], "datatype": "FP32", "data": row}],
            "outputs": [{"name": "predict_proba"}],
        },
        scores=lambda answer: answer["outputs"][0]["data"],
    ),
    "bentoml": PeerServer(
        venv="bentoml",
        packages=("bentoml==1.4.39",),
        prepare=_prepare_bentoml,
        arguments=lambda folder, port: [
            *("bentoml", "serve", "service:Trees", "--working-dir", str(folder)),
            *("--host", "127.0.0.1", "--port", str(port)),
        ],
        path="/predict",
        health="/readyz",
        body=lambda names, row: {"features": [row]},
        scores=lambda answer: answer[0],
    ),
}


def measure_peer(
    name: str, world: ServedWorld, venvs: Path, scratch: Path, cores: Cores, *, seconds: float, rounds: int
) -> Peer:
    """Install one if need be, serve the world's model with it, and let wrk ask. What fails is in `failed`."""
    peer, folder, names = PEERS[name], scratch / name, world.features
    venv = venvs / peer.venv
    port = free_port()
    folder.mkdir()
    asked = json.dumps(peer.body(names, world.rows[0].tolist()))
    line = [
        str(venv / "bin" / word) if not n else word for n, word in enumerate(peer.arguments(folder, port))
    ]
    told = Peer(command=" ".join(peer.arguments(Path("FOLDER"), port)), asked=f"POST {peer.path} {asked}")
    joblib.dump(world.model, folder / "model.joblib")
    try:
        _install(venv, peer.packages)
        peer.prepare(venv, folder, port, names)
        told = msgspec.structs.replace(told, versions=_versions(venv))
        with started(
            line,
            cores,
            folder / "log",
            port=port,
            ready=lambda port: _answers(f"http://127.0.0.1:{port}{peer.health}"),
            variables={
                "PATH": f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}",
                "BENTOML_HOME": str(folder / "home"),
                "BENTOML_DO_NOT_TRACK": "True",
            },
            working=folder,
        ) as server:
            _compare(name, peer, port, world)
            bodies = [json.dumps(peer.body(names, row)) for row in world.rows[:_BODIES].tolist()]
            rates = []
            for _ in range(rounds):
                closed, rate = closed_loop(server, cores, peer.path, bodies, seconds)
                if closed.refused:
                    raise SetupError(f"{closed.refused} requests were refused", where=name)
                rates.append(rate)
    except (SetupError, ParityError) as error:
        return msgspec.structs.replace(told, failed=" ".join(error.line().split()))
    rps = sorted(rate.rps for rate in rates)[len(rates) // 2]
    return msgspec.structs.replace(told, rps=rps, rates=tuple(rates))


def _install(venv: Path, packages: Sequence[str]) -> None:
    wanted = [*packages, f"scikit-learn=={sklearn.__version__}"]
    stamp = venv / ".installed"
    if stamp.exists() and stamp.read_text().split() == wanted:
        return
    uv, python = (sys.executable, "-m", "uv"), str(venv / "bin" / "python")
    venv.parent.mkdir(parents=True, exist_ok=True)
    _run([*uv, "venv", "--clear", "--python", sys.executable, str(venv)], venv.parent)
    _run([*uv, "pip", "install", "--python", python, *wanted], venv.parent)
    stamp.write_text("\n".join(wanted))


def _versions(venv: Path) -> dict[str, str]:
    listed = _run(
        [sys.executable, "-m", "uv", "pip", "list", "--format", "json", "--python", str(venv)], venv
    )
    shown = (
        "mlflow",
        "mlserver",
        "bentoml",
        "scikit-learn",
        "numpy",
        "fastapi",
        "starlette",
        "uvicorn",
        "uvloop",
    )
    return {package["name"]: package["version"] for package in json.loads(listed) if package["name"] in shown}


def _run(command: Sequence[str], folder: Path) -> str:
    try:
        ran = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=_INSTALL_S
        )
    except subprocess.TimeoutExpired:
        raise SetupError(f"took more than {_INSTALL_S} s", where=" ".join(command[:6])) from None
    if ran.returncode:
        raise SetupError(
            f"ended with {ran.returncode}: {ran.stderr.strip()[-500:]}", where=" ".join(command[:6])
        )
    return ran.stdout


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def _compare(name: str, peer: PeerServer, port: int, world: ServedWorld) -> None:
    """That it serves the same model."""
    row = world.rows[0]
    body = peer.body(world.features, row.tolist())
    try:
        answer = httpx.post(f"http://127.0.0.1:{port}{peer.path}", json=body, timeout=20)
    except httpx.TransportError as error:
        raise SetupError(f"does not answer: {error!r}", where=name) from None
    if answer.status_code != 200:
        raise SetupError(f"answers {answer.status_code}: {answer.text[:300]}", where=name)
    try:
        score = float(peer.scores(answer.json())[1])
    except (ValueError, TypeError, KeyError, IndexError):
        raise SetupError(f"answers with no probabilities: {answer.text[:300]}", where=name) from None
    if abs(score - float(world.scores[0])) > _TOLERANCE:
        raise ParityError(f"gives {score} where the bundle gives {world.scores[0]}", where=name)
