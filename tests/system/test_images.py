"""The serving image, built and run: small, without rights, quick, and what it acknowledged is kept."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from docker.models.images import Image
from packageurl import PackageURL

from infra.supply.sbom import sbom
from tests.serving.example import World, payment
from tests.system.containers import (
    COMMITTED,
    Shipped,
    answers,
    base,
    build,
    copied,
    engine,
    ran,
    running,
    seconds_to_ready,
)
from tests.system.image_files import configuration, files, installed, left_over, rights, tools
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


def test_it_is_small_and_says_what_it_is_and_how_it_is_run(image: Image, tree: Path) -> None:
    assert image.attrs["Size"] <= MOST_BYTES
    config = configuration(image)
    assert config["User"] == f"{UID}:{UID}" and config["Cmd"] == ["serve"]
    assert set(config["ExposedPorts"]) == {"8080/tcp"} and set(config["Volumes"]) == {"/state"}
    assert config["Healthcheck"]["Test"] == ["CMD", "healthy"]
    head = subprocess.run(["git", "-C", tree, "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    name, _, digest = base(engine()).partition("@")
    labels = {label.removeprefix("org.opencontainers.image."): text for label, text in image.labels.items()}
    assert labels.items() >= {
        *{"title": "mlops-serving", "licenses": "Apache-2.0", "version": "0.1.0"}.items(),
        *{"created": COMMITTED, "revision": head.strip()}.items(),
        *{"base.name": name, "base.digest": digest}.items(),
    }
    assert labels["description"]


def test_nothing_in_it_compiles_or_installs_or_gives_rights_or_is_of_no_use(image: Image) -> None:
    found = files(image)
    assert "/usr/local/lib/python3.11/dist-packages/serving/__main__.py" in found
    assert tools(found) == left_over(found) == set()
    loose, own = rights(found, UID)
    assert loose == set()
    assert own == {"/state", "/state/store", "/state/decisions", "/state/audit"}


def test_its_bill_of_materials_names_every_package_that_is_in_it(image: Image) -> None:
    bill = sbom("serving", ran(image, ["cat", "/var/lib/dpkg/status"]))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)) is None
    named = [PackageURL.from_string(component["purl"]) for component in bill["components"]]
    debian = {f"{purl.name} {purl.version}" for purl in named if purl.type == "deb"}
    assert debian == set(ran(image, ["dpkg-query", "-f", "${Package} ${Version}\n", "-W"]).splitlines())
    python = {f"{purl.name} {purl.version}" for purl in named if purl.type == "pypi"}
    assert python == installed(image)


def test_the_same_commit_gives_the_same_image_wherever_it_lies_and_whoever_may_write_it(
    image: Image, tree: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(tree, tmp_path / "another" / "place")
    for path in other.rglob("*"):
        path.chmod(path.stat().st_mode | stat.S_IWGRP)
        os.utime(path, (0, 0))
    assert build(other, "serving", "mlops-serving-again", "--no-cache").id == image.id


@pytest.mark.parametrize("user", [None, "1000650000:0"])
def test_it_runs_as_its_user_or_as_one_that_the_platform_makes_up(
    image: Image, world: Shipped, user: str | None
) -> None:
    with running(image, world, user=user, kept=False) as contained:
        assert contained.ready().post("/v1/score", payment(1)).status == 200
        lines = contained.said("cat", "/proc/1/status").splitlines()
        status = dict(line.split(":\t", 1) for line in lines)
        uid, _, gid = (user or f"{UID}:{UID}").partition(":")
        assert (set(status["Uid"].split()), set(status["Gid"].split())) == ({uid}, {gid})
        assert int(status["CapEff"], 16) == 0


@pytest.mark.parametrize(
    ("wrong", "mode", "words"),
    [
        ("access/verify-key.pem", None, "/keys/verify-key.pem: no such file"),
        ("access/verify-key.pem", 0, "/keys/verify-key.pem: cannot be read: Permission denied"),
        ("access/api-keys.json", 0, "/keys/api-keys.json: cannot be read: Permission denied"),
        ("state", 0o555, "/state/decisions: cannot be written to: Permission denied"),
    ],
)
def test_a_mounted_folder_that_lacks_something_ends_it_with_one_line(
    image: Image, world: Shipped, wrong: str, mode: int | None, words: str
) -> None:
    path = world.home / wrong
    if mode is None:
        path.unlink()
    else:
        path.chmod(mode)
    said = ran(image, ["serve"], status=2, volumes=world.volumes())
    assert words in json.loads(said)["message"]


def test_it_is_ready_soon_after_its_start(
    image: Image, world: Shipped, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds: list[float] = []
    with running(image, world) as contained:
        contained.ready()
        for _ in range(7):
            contained.container.stop(timeout=20)
            seconds.append(seconds_to_ready(contained))
    with capsys.disabled():
        print(f" ready {min(seconds):.2f} s after the start, at best of {len(seconds)} ", end="")
    assert min(seconds) <= MOST_SECONDS, (
        seconds
    )  # the best, as a machine that has much else to do takes longer


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


def test_a_bundle_that_another_key_has_signed_is_refused_and_the_old_one_goes_on(
    image: Image, world: Shipped, tmp_path: Path
) -> None:
    with running(image, world) as contained:
        client = contained.ready()
        world.deploy("2", World(tmp_path / "stranger").bundle("second", seed=3))
        refused = client.wait_for("refused", ...)
        assert refused["version"] == "2" and "was signed with another key" in refused["reason"]
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
