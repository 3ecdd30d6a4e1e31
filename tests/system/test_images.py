"""The serving image, built and run: small, without rights, quick, and what it acknowledged is kept."""

from __future__ import annotations

import io
import json
import os
import re
import stat
import tarfile
from pathlib import Path
from typing import IO, Any, NamedTuple

import pytest
from docker.models.images import Image

from tests.serving.example import payment
from tests.system.containers import Shipped, answers, build, copied, running, seconds_to_ready
from tests.system.load import check_counts, check_kept, until

pytestmark = [pytest.mark.system, pytest.mark.containers, pytest.mark.timeout(600)]

MOST_BYTES = 300e6
MOST_SECONDS = 1.5
UID = 10001


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the image is made of, in a copy."""
    return copied(tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="module")
def image(tree: Path) -> Image:
    """The serving image, built for this run."""
    return build(tree, "serving", "mlops-serving")


@pytest.fixture
def world(tmp_path: Path) -> Shipped:
    """Folders to mount, with a first bundle deployed as version 1."""
    world = Shipped(tmp_path / "home")
    world.deploy("1", world.bundle())
    return world


@pytest.fixture(scope="module")
def saved(image: Image) -> Saved:
    """What the image says of itself, and the names of all files in its layers."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(image.save()))) as archive:
        (manifest,) = json.loads(_member(archive, "manifest.json").read())
        names: set[str] = set()
        for layer in manifest["Layers"]:
            with tarfile.open(fileobj=_member(archive, layer)) as files:
                names |= {"/" + name.removeprefix("./") for name in files.getnames()}
        return Saved(json.loads(_member(archive, manifest["Config"]).read())["config"], names)


class Saved(NamedTuple):
    config: dict[str, Any]
    files: set[str]


def _member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    found = archive.extractfile(name)
    assert found is not None
    return found


def test_it_is_small_and_says_what_it_is_and_how_it_is_run(image: Image, saved: Saved) -> None:
    assert image.attrs["Size"] <= MOST_BYTES
    config = saved.config
    assert config["User"] == f"{UID}:{UID}" and config["Cmd"] == ["serve"]
    assert set(config["ExposedPorts"]) == {"8080/tcp"} and set(config["Volumes"]) == {"/state"}
    assert config["Healthcheck"]["Test"] == ["CMD", "healthy"]
    labels = {name.removeprefix("org.opencontainers.image."): text for name, text in image.labels.items()}
    assert labels["title"] == "mlops-serving" and labels["licenses"] == "Apache-2.0"
    assert (
        labels["version"] == "0.1.0" and labels["revision"] and labels["base.name"].endswith("bookworm-slim")
    )


def test_no_layer_holds_pip_or_a_compiler(saved: Saved) -> None:
    assert "/usr/local/lib/python3.11/dist-packages/serving/__main__.py" in saved.files
    tools = re.compile(
        r"/(bin|lib|(dist|site)-packages)/(pip.*|ensurepip|setuptools|uv|gcc|g\+\+|cc|ld|as|make)$"
    )
    assert not {name for name in saved.files if tools.search(name)}


def test_the_same_input_gives_the_same_image_however_old_its_files_are_and_whoever_may_write_them(
    image: Image, tree: Path
) -> None:
    for path in tree.rglob("*"):
        path.chmod(path.stat().st_mode | stat.S_IWGRP)
        os.utime(path)
    assert build(tree, "serving", "mlops-serving-again", "--no-cache").id == image.id


def test_it_runs_as_a_user_without_rights_on_a_root_that_it_cannot_write(
    image: Image, world: Shipped
) -> None:
    with running(image, world) as contained:
        contained.ready()
        run = contained.container.exec_run
        lines = contained.said("cat", "/proc/1/status").splitlines()
        status = dict(line.split(":\t", 1) for line in lines)
        assert set(status["Uid"].split()) == set(status["Gid"].split()) == {str(UID)}
        assert int(status["CapBnd"], 16) == 0 and status["NoNewPrivs"] == "1"
        for place in ("/", "/usr/local/lib/python3.11/dist-packages/serving", "/deployments", "/keys"):
            assert run(["touch", f"{place}/written"], user="0").exit_code != 0, place
        assert run(["touch", "/state/written"]).exit_code == 0
        assert run(["python3", "-m", "pip", "--version"]).exit_code != 0


def test_it_is_ready_soon_after_its_start(image: Image, world: Shipped) -> None:
    seconds: list[float] = []
    with running(image, world) as contained:
        contained.ready()
        # So often, as the machine may have other things to do.
        while min(seconds, default=MOST_SECONDS + 1) > MOST_SECONDS and len(seconds) < 20:
            contained.container.stop(timeout=20)
            seconds.append(seconds_to_ready(contained))
    assert min(seconds) <= MOST_SECONDS, seconds


def test_it_scores_an_event_and_logs_the_decision_for_whoever_has_a_key(image: Image, world: Shipped) -> None:
    with running(image, world) as contained:
        client = contained.ready()
        scored = client.post("/v1/score", payment(1))
        assert scored.status == 200 and scored.body["version"] == "1"
        check_kept(world, client, {1: scored.body})
        client.key = "another"
        assert client.post("/v1/score", payment(2)).status == 401


def test_the_health_check_says_whether_it_is_ready(image: Image, world: Shipped) -> None:
    pointer = world.pointer.read_bytes()
    world.pointer.unlink()
    with running(image, world) as contained:
        health = contained.container.exec_run
        until(lambda: "refused" in contained.said("healthy"))
        assert health(["healthy"]).exit_code == 1
        world.pointer.write_bytes(pointer)
        contained.ready()
        assert health(["healthy"]).exit_code == 0
        assert "Traceback" not in contained.logs()


def test_a_new_bundle_in_the_mounted_folder_takes_over_and_no_request_fails(
    image: Image, world: Shipped
) -> None:
    with running(image, world) as contained:
        contained.ready()
        with contained.load() as load:
            world.deploy("2", world.bundle("second", seed=3))
            client = contained.client()
            client.wait_for("version", "2")
            load.go_on()
        assert (set(load.statuses), load.broken) == ({200}, 0)
        assert {answer["version"] for answer in load.answers.values()} == {"1", "2"}
        check_kept(world, client, load.answers)


def test_a_bundle_that_was_tampered_with_is_refused_and_the_old_one_goes_on(
    image: Image, world: Shipped
) -> None:
    path, digest = world.bundle("second", seed=3)
    model = bytearray((path / "model.onnx").read_bytes())
    model[len(model) // 2] ^= 1
    (path / "model.onnx").write_bytes(model)
    with running(image, world) as contained:
        client = contained.ready()
        world.deploy("2", (path, digest))
        refused = client.wait_for("refused", ...)
        assert (
            refused["version"] == "2" and "model.onnx: is not the file that was signed" in refused["reason"]
        )
        assert client.post("/v1/score", payment(1)).body["version"] == "1"


def test_killed_under_load_it_has_kept_all_that_it_acknowledged(image: Image, world: Shipped) -> None:
    with running(image, world, MLOPS_SERVING_WORKERS="2") as contained:
        contained.ready()
        with contained.load() as load:
            load.go_on(200)
            contained.container.kill("SIGKILL")
            until(lambda: load.broken >= 3)
        contained.container.wait(timeout=30)
        contained.container.start()
        client = contained.ready()
        check_kept(world, client, load.answers, orphans=3)
        check_counts(world, client)


def test_told_to_end_it_answers_what_comes_until_the_balancer_has_noticed(
    image: Image, world: Shipped
) -> None:
    with running(image, world, MLOPS_SERVING_DRAIN_SECONDS="5") as contained:
        client = contained.ready()
        with contained.load() as load:
            contained.container.kill("SIGTERM")
            until(lambda: not answers(client), 4)
            load.go_on()
        assert (set(load.statuses), load.broken) == ({200}, 0)
        assert contained.container.wait(timeout=30)["StatusCode"] == 0
        contained.container.start()
        check_kept(world, contained.ready(), load.answers)
