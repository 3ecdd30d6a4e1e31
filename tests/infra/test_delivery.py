"""What the delivery's jobs call: images by digest, a service that is tried, a change that is compared.

Registry, cluster and forge are not here: in their place stand programs that note what they were told.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from infra.delivery import smoke
from infra.delivery.pin import pinned
from mlops.aggregates import duration_us
from serving.forgetting import forget
from serving.plan import StorePlan
from serving.stores import open_store
from tests.infra.programs import REFERENCES, Programs, copy_delivery, note
from tests.serving.example import FEATURES, NUMBERS, World, payment

ROOT = Path(__file__).resolve().parents[2]
DELIVERY = ROOT / "infra" / "delivery"
DIGESTS = dict(reference.rpartition("/")[2].split("@") for reference in REFERENCES)
OVERLAY = ROOT / "k8s" / "overlays" / "production"


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return Programs(tmp_path)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return copy_delivery(tmp_path / "checkout")


def test_an_overlay_is_pinned_to_digests_under_the_names_that_it_uses(tmp_path: Path) -> None:
    document = pinned(OVERLAY, ROOT / "runs" / "somewhere" / "else", REFERENCES)
    assert document["resources"] == ["../../../k8s/overlays/production"]
    own = yaml.safe_load((OVERLAY / "kustomization.yaml").read_text())["images"]
    assert document["images"] == [
        {"name": one["newName"], "newName": f"ghcr.io/owner/{one['name']}", "digest": DIGESTS[one["name"]]}
        for one in own
    ]


@pytest.mark.parametrize(
    ("references", "said"),
    [
        ([REFERENCES[0], "ghcr.io/owner/mlops-pipeline:1.0"], "not a reference by digest"),
        ([REFERENCES[0], "ghcr.io/owner/mlops-pipeline@sha256:abc"], "not a reference by digest"),
        (REFERENCES[:1], "no reference for mlops-pipeline"),
    ],
)
def test_a_tag_or_a_missing_image_is_refused(references: list[str], said: str) -> None:
    with pytest.raises(SystemExit, match=said):
        pinned(OVERLAY, ROOT / "runs" / "deploy", references)


@pytest.mark.system
def test_what_is_sent_to_a_cluster_has_every_image_by_digest(tmp_path: Path) -> None:
    out = ROOT / "runs" / f"pin-{os.getpid()}"
    try:
        files = [tmp_path / name for name in DIGESTS]
        for file, reference in zip(files, REFERENCES, strict=True):
            file.write_text(reference + "\n")
        subprocess.run([sys.executable, DELIVERY / "pin.py", OVERLAY, out, *files], check=True, timeout=60)
        rendered = subprocess.run(
            ["kubectl", "kustomize", out], capture_output=True, text=True, check=True, timeout=60
        ).stdout
    finally:
        (out / "kustomization.yaml").unlink(missing_ok=True)
        out.rmdir()
    images = [line.split("image: ")[1] for line in rendered.splitlines() if " image: " in line]
    assert len(images) > 5 and set(images) == set(REFERENCES)


STATUS = """Package: libc6
Status: install ok installed
Architecture: s390x
Version: 2.36-9
"""


def test_an_image_is_published_as_a_candidate_of_its_processor_with_what_is_in_it(
    checkout: Path, programs: Programs
) -> None:
    programs.add("uname", "echo s390x")
    name = "ghcr.io/someone/mlops-serving"
    (checkout / "status").write_text(STATUS)
    programs.add(
        "docker",
        f"""case $1 in
            image) printf '%s\\n' other@sha256:{"c" * 64} {name}@{DIGESTS["mlops-serving"]} ;;
            run) cat status ;;
        esac""",
    )
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").symlink_to(sys.executable)
    variables = {"REGISTRY": "ghcr.io/SomeOne", "VERSION": "v1.2.3", "SOURCE_DATE_EPOCH": "0"}
    words = [checkout / "infra/delivery/publish", "serving"]
    done = programs.run(words, checkout, PYTHONPATH=str(checkout), **variables)
    assert done.returncode == 0, done.stderr
    image = f"{name}:candidate-v1.2.3-s390x"
    built = [call for call in programs.calls if call.startswith("docker buildx build")]
    assert len(built) == 1 and f"name={image}," in built[0]
    assert f"docker push --quiet {image}" in programs.calls
    noted = (checkout / "runs/delivery/parts/serving-s390x").read_text()
    assert noted == f"{name}@{DIGESTS['mlops-serving']}\n"
    assert f"docker run --rm --network none --entrypoint cat {image} /var/lib/dpkg/status" in programs.calls
    bill = json.loads((checkout / "runs/delivery/sbom/serving-s390x.cdx.json").read_text())
    kinds = {component["purl"].partition("/")[0] for component in bill["components"]}
    assert kinds == {"pkg:pypi", "pkg:deb"}
    assert any("arch=s390x" in component["purl"] for component in bill["components"])


@pytest.mark.parametrize(
    "written",
    [{"containerimage.digest": "{}"}, {"containerimage.descriptor": {"size": 1, "digest": "{}"}}],
    ids=["digest", "descriptor"],
)
def test_the_parts_become_one_candidate_known_by_the_digest_that_was_pushed(
    checkout: Path, programs: Programs, written: object
) -> None:
    digest = "sha256:" + "d" * 64
    (checkout / "written").write_text(json.dumps(written).replace("{}", digest))
    programs.add("docker", '[ "$2" = version ] || cp written "$5"')
    name = "ghcr.io/o/mlops-serving"
    note(checkout, "parts", **{f"serving_{sign}": f"{name}@sha256:{sign * 64}" for sign in "ab"})
    variables = {"REGISTRY": "ghcr.io/o", "VERSION": "v1.2.3"}
    done = programs.run([checkout / "infra/delivery/index", "serving"], checkout, **variables)
    assert done.returncode == 0, done.stderr
    parts = " ".join(f"{name}@sha256:{sign * 64}" for sign in "ab")
    assert programs.calls[1:] == [
        "docker buildx imagetools create --metadata-file runs/delivery/index.json "
        f"--tag {name}:candidate-v1.2.3 {parts}"
    ]
    assert (checkout / "runs/delivery/images/serving").read_text() == f"{name}@{digest}\n"
    assert (
        programs.run([checkout / "infra/delivery/index", "pipeline"], checkout, **variables).returncode == 2
    )


def test_an_image_gets_its_version_s_name_when_it_and_what_is_in_its_parts_are_signed(
    checkout: Path, programs: Programs
) -> None:
    name = "ghcr.io/owner/mlops-serving"
    note(checkout, "images", serving=REFERENCES[0])
    note(checkout, "parts", serving_a=f"{name}@sha256:{'1' * 64}", serving_b=f"{name}@sha256:{'2' * 64}")
    programs.add("cosign")
    programs.add("docker")
    words = [checkout / "infra/delivery/sign", "serving"]
    done = programs.run(words, checkout, VERSION="v1.2.3")
    assert done.returncode == 0, done.stderr
    attest = "cosign attest --yes --type cyclonedx --predicate runs/delivery/sbom"
    assert programs.calls[1:] == [
        f"{attest}/serving-a.cdx.json {name}@sha256:{'1' * 64}",
        f"{attest}/serving-b.cdx.json {name}@sha256:{'2' * 64}",
        f"cosign sign --yes {REFERENCES[0]}",
        f"docker buildx imagetools create --tag {name}:v1.2.3 {REFERENCES[0]}",
    ]
    programs.add("cosign", "[ $1 != sign ]")
    assert programs.run(words, checkout, VERSION="v1.2.4").returncode == 1
    assert not [call for call in programs.calls if "v1.2.4" in call]


@pytest.mark.parametrize("kind", ["images", "parts"])
def test_a_tag_is_not_signed(checkout: Path, programs: Programs, kind: str) -> None:
    tag = "ghcr.io/owner/mlops-serving:1.0"
    note(checkout, "images", serving=tag if kind == "images" else REFERENCES[0])
    note(checkout, "parts", serving_a=tag if kind == "parts" else REFERENCES[0])
    programs.add("cosign")
    words = [checkout / "infra/delivery/sign", "serving"]
    assert programs.run(words, checkout, VERSION="1").returncode == 2
    assert programs.calls == []


@pytest.mark.parametrize(
    ("words", "without", "said"),
    [
        ("publish", "REGISTRY", "REGISTRY is not set"),
        ("publish serving", "VERSION", "VERSION is not set"),
        ("publish serving", "", "docker has no plugin buildx"),
        ("publish nonsense", "", "TARGET is serving or pipeline"),
        ("index nonsense", "", "TARGET is serving or pipeline"),
        ("index serving", "", "make publish TARGET=serving first"),
        ("sign nonsense", "", "TARGET is serving or pipeline"),
        ("sign pipeline", "", "make index TARGET=pipeline first"),
        ("sign serving", "", "cosign is not installed"),
    ],
)
def test_what_a_step_of_an_image_misses_is_said_in_a_line_before_anything_is_done(
    checkout: Path, programs: Programs, words: str, without: str, said: str
) -> None:
    note(checkout, "images", serving=REFERENCES[0])
    if words == "sign serving":
        note(checkout, "parts", serving_a=REFERENCES[0])
    programs.add("docker", "exit 1")
    name, *target = words.split()
    variables = {"REGISTRY": "r", "VERSION": "v1", "PATH": f"{programs.folder}:/usr/bin:/bin"}
    if without:
        variables[without] = ""
    done = programs.run([checkout / "infra/delivery" / name, *(target or ["serving"])], checkout, **variables)
    assert done.returncode == 2 and said in done.stderr and len(done.stderr.splitlines()) == 1
    assert set(programs.calls) <= {"docker buildx version"}


def test_an_overlay_that_is_not_there_is_said_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="OVERLAY is no folder of a kustomization"):
        pinned(tmp_path / "nope", tmp_path, REFERENCES)


@pytest.mark.parametrize("script", ["tell.py", "propose.py", "comment.py"])
def test_what_speaks_to_the_forge_says_for_which_repository_it_wants_to_be_told(
    checkout: Path, programs: Programs, script: str
) -> None:
    done = programs.run([sys.executable, DELIVERY / script], checkout, GH_REPO="")
    assert done.returncode == 1 and "Traceback" not in done.stderr and "GH_REPO is not set" in done.stderr


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, str]]:
    """A server, and where it is."""
    world = World(tmp_path_factory.mktemp("world"))
    world.deploy("1", world.bundle())
    with world.server() as server:
        yield world, f"http://127.0.0.1:{server.port}"


EVENT = {name: value for name, value in payment(1).items() if name not in ("payment", "at")}
SMOKE = ["--id", "payment", "--time", "at", "--seconds", "0.3", "--event"]


def test_the_smoke_test_passes_where_events_are_scored_and_says_by_which_model(
    service: tuple[World, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert smoke.main([service[1], *SMOKE, json.dumps(EVENT)]) == 0
    said = capsys.readouterr().out
    assert "events scored" in said and "by model 1" in said


def test_the_smoke_test_fails_where_an_event_is_refused(
    service: tuple[World, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert smoke.main([service[1], *SMOKE, json.dumps(EVENT | {"amount": "much"})]) == 1
    assert "amount" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "event", "column", "said"),
    [
        ("", "{}", "id", "SMOKE_URL"),
        ("nonsense", "{}", "id", "SMOKE_URL"),
        ("http://127.0.0.1:9", "", "id", "SMOKE_EVENT"),
        ("http://127.0.0.1:9", "[1]", "id", "SMOKE_EVENT"),
        ("http://127.0.0.1:9", "{}", "", "SMOKE_ID"),
    ],
)
def test_the_smoke_test_names_what_it_was_not_told(
    capsys: pytest.CaptureFixture[str], url: str, event: str, column: str, said: str
) -> None:
    assert smoke.main([url, "--event", event, "--id", column]) == 2
    assert capsys.readouterr().err.startswith(f"smoke: {said} ")


def test_the_smoke_test_fails_where_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    assert smoke.main(["http://127.0.0.1:9", *SMOKE, json.dumps(EVENT)]) == 1
    assert "after 0 events" in capsys.readouterr().err


def test_a_smoke_test_of_now_passes_when_the_store_has_forgotten_older_events(
    service: tuple[World, str], capsys: pytest.CaptureFixture[str]
) -> None:
    world, url = service
    store = open_store(world.store, StorePlan.of(FEATURES, NUMBERS), NUMBERS)
    now = int(time.time() * 1_000_000)
    forget(store, now - FEATURES.horizon_us - duration_us("7d"))
    store.close()
    fixed = json.dumps(EVENT | {"at": "2024-03-01T12:00:00Z"})
    assert smoke.main([url, "--id", "payment", "--seconds", "0", "--event", fixed]) == 1
    assert "the store has forgotten" in capsys.readouterr().err
    assert smoke.main([url, *SMOKE, json.dumps(EVENT)]) == 0


def test_the_smoke_test_asks_for_nothing_that_the_gateways_keep_inside() -> None:
    asked = set(re.findall(r"(/v1/\w+|/\w*z)\b", (DELIVERY / "smoke.py").read_text()))
    route = (ROOT / "k8s/components/gateway/route.yaml").read_text()
    assert asked == {"/v1/model", "/v1/score"}
    assert asked <= set(re.findall(r"value: (\S+)}", route))
    nginx = (ROOT / "infra/compose/nginx/nginx.conf").read_text()
    (passed,) = re.findall(r"location ~ (\S+) {", nginx)
    assert all(re.search(passed, path) for path in asked)
