"""What the delivery's jobs call: images by digest, a service that is tried, a change that is compared.

Registry, cluster and forge are not here: in their place stand programs that note what they were told.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from infra.delivery import smoke
from infra.delivery.pin import pinned
from tests.infra.programs import Programs
from tests.serving.example import World, payment

ROOT = Path(__file__).resolve().parents[2]
DELIVERY = ROOT / "infra" / "delivery"
DIGESTS = {"mlops-serving": "sha256:" + "a" * 64, "mlops-pipeline": "sha256:" + "b" * 64}
REFERENCES = [f"ghcr.io/owner/{name}@{digest}" for name, digest in DIGESTS.items()]
OVERLAY = ROOT / "k8s" / "overlays" / "production"


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return Programs(tmp_path)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the scripts read, as they write beside it."""
    folder = tmp_path / "checkout"
    for name in ("infra/delivery", "infra/docker", "infra/supply", "infra/lock", "k8s/overlays/production"):
        (folder / name).mkdir(parents=True)
        for path in (ROOT / name).iterdir():
            if path.is_file():
                (folder / name / path.name).write_bytes(path.read_bytes())
                (folder / name / path.name).chmod(path.stat().st_mode)
    (folder / "mlops").mkdir()
    for name in ("pyproject.toml", "mlops/errors.py"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


def write_images(checkout: Path, references: Sequence[str] = REFERENCES) -> None:
    folder = checkout / "runs" / "delivery" / "images"
    folder.mkdir(parents=True)
    for name, reference in zip(("serving", "pipeline"), references, strict=True):
        (folder / name).write_text(reference + "\n")


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


def test_an_image_is_published_under_its_processor_and_noted_by_digest(
    checkout: Path, programs: Programs
) -> None:
    programs.add("uname", "echo s390x")
    name = "ghcr.io/someone/mlops-serving"
    programs.add(
        "docker",
        f'[ "$1" != image ] || printf "%s\\n" other@sha256:{"c" * 64} {name}@{DIGESTS["mlops-serving"]}',
    )
    variables = {"REGISTRY": "ghcr.io/SomeOne", "VERSION": "1.2.3", "SOURCE_DATE_EPOCH": "0"}
    done = programs.run([checkout / "infra/delivery/publish", "serving"], checkout, **variables)
    assert done.returncode == 0, done.stderr
    built = [call for call in programs.calls if call.startswith("docker buildx build")]
    assert len(built) == 1 and f"name={name}:1.2.3-s390x," in built[0]
    assert f"docker push --quiet {name}:1.2.3-s390x" in programs.calls
    noted = (checkout / "runs/delivery/parts/serving-s390x").read_text()
    assert noted == f"{name}@{DIGESTS['mlops-serving']}\n"


def test_the_parts_become_one_image_by_digest(checkout: Path, programs: Programs) -> None:
    digest = "sha256:" + "d" * 64
    programs.add("docker", f'[ "$3" != inspect ] || echo {digest}')
    parts = checkout / "runs" / "delivery" / "parts"
    parts.mkdir(parents=True)
    for processor in ("x86_64", "aarch64"):
        (parts / f"serving-{processor}").write_text(f"ghcr.io/o/mlops-serving@sha256:{processor[0] * 64}\n")
    variables = {"REGISTRY": "ghcr.io/o", "VERSION": "1.2.3"}
    done = programs.run([checkout / "infra/delivery/index", "serving"], checkout, **variables)
    assert done.returncode == 0, done.stderr
    (created,) = [call for call in programs.calls if "create" in call]
    assert created.count("ghcr.io/o/mlops-serving@sha256:") == 2
    assert (checkout / "runs/delivery/images/serving").read_text() == f"ghcr.io/o/mlops-serving@{digest}\n"
    assert (
        programs.run([checkout / "infra/delivery/index", "pipeline"], checkout, **variables).returncode == 1
    )


def test_an_image_is_signed_by_digest_with_its_bill_of_materials(checkout: Path, programs: Programs) -> None:
    write_images(checkout)
    programs.add("cosign")
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").symlink_to(sys.executable)
    done = programs.run([checkout / "infra/delivery/sign", "serving"], checkout, PYTHONPATH=str(checkout))
    assert done.returncode == 0, done.stderr
    bill = "runs/delivery/sbom/serving.cdx.json"
    assert programs.calls == [
        f"cosign sign --yes {REFERENCES[0]}",
        f"cosign attest --yes --type cyclonedx --predicate {bill} {REFERENCES[0]}",
    ]
    assert json.loads((checkout / bill).read_text())["metadata"]["component"]["name"] == "mlops-serving"


def test_a_tag_is_not_signed(checkout: Path, programs: Programs) -> None:
    write_images(checkout, ["ghcr.io/owner/mlops-serving:1.0", REFERENCES[1]])
    programs.add("cosign")
    assert programs.run([checkout / "infra/delivery/sign", "serving"], checkout).returncode == 2
    assert programs.calls == []


def kubectl(rollout: int = 0, image: str = REFERENCES[0]) -> str:
    """A cluster whose rollouts end so, and whose manifests have this image."""
    return f"""
case $1 in
    kustomize) printf 'spec:\\n  - image: {image}\\n' ;;
    apply) cp "$3" "{{}}" ; printf '%s' "${{KUBECONFIG:-}}" >"{{}}.config" ;;
    --namespace) [ "$4" != status ] || exit {rollout} ;;
esac
"""


def deploy(
    checkout: Path, programs: Programs, script: str, *words: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    programs.add("kubectl", script.replace("{}", str(checkout / "applied")))
    said = {"SIGNED_BY": "^https://github\\.com/owner/", "KUBE_CONFIG": "kind: Config", "SMOKE_URL": "none"}
    return programs.run([checkout / "infra/delivery/deploy", *words], checkout, **said | variables)


def test_only_what_was_signed_is_rolled_out(checkout: Path, programs: Programs) -> None:
    write_images(checkout)
    programs.add("cosign", "exit 1")
    assert deploy(checkout, programs, kubectl()).returncode == 1
    assert not [call for call in programs.calls if "apply" in call]

    programs.add("cosign")
    done = deploy(checkout, programs, kubectl())
    assert done.returncode == 0, done.stderr
    verified = [call for call in programs.calls if call.startswith("cosign verify")][1:]
    assert {call.split()[-1] for call in verified} == set(REFERENCES)
    assert all("--certificate-identity-regexp ^https://github\\.com/owner/" in call for call in verified)
    assert REFERENCES[0] in (checkout / "applied").read_text()
    config = Path((checkout / "applied.config").read_text())
    assert config.name == "kubeconfig" and not config.exists()
    assert not [call for call in programs.calls if "undo" in call]


@pytest.mark.parametrize(("rollout", "smoke"), [(1, 0), (0, 2)], ids=["not ready", "no scores"])
def test_a_rollout_that_does_not_work_is_taken_back(
    checkout: Path, programs: Programs, rollout: int, smoke: int
) -> None:
    write_images(checkout)
    programs.add("cosign")
    programs.add("make", f"exit {smoke}")
    done = deploy(checkout, programs, kubectl(rollout=rollout), SMOKE_URL="https://fraud.example.com")
    assert done.returncode == 1 and "taking it back" in done.stderr
    calls = [call for call in programs.calls if not call.startswith("cosign")]
    undone = calls.index("kubectl --namespace mlops rollout undo deployment/serving")
    assert ("make --no-print-directory smoke" in calls[:undone]) == (rollout == 0)
    assert calls[undone + 1].startswith("kubectl --namespace mlops rollout status")


def test_a_rollout_that_works_is_tried_and_left(checkout: Path, programs: Programs) -> None:
    write_images(checkout)
    programs.add("cosign")
    programs.add("make")
    done = deploy(checkout, programs, kubectl(), SMOKE_URL="https://fraud.example.com")
    assert done.returncode == 0, done.stderr
    assert programs.calls[-1] == "make --no-print-directory smoke"


def test_nothing_is_sent_before_it_is_said_how_to_try_it(checkout: Path, programs: Programs) -> None:
    write_images(checkout)
    programs.add("cosign")
    assert deploy(checkout, programs, kubectl(), SMOKE_URL="").returncode != 0
    assert [call.split()[1] for call in programs.calls] == ["kustomize"]


def test_manifests_with_a_tag_in_them_are_not_sent(checkout: Path, programs: Programs) -> None:
    write_images(checkout)
    programs.add("cosign")
    done = deploy(checkout, programs, kubectl(image="docker.io/library/redis:8"))
    assert done.returncode == 1 and "not by digest" in done.stderr
    assert [call.split()[1] for call in programs.calls] == ["kustomize"]


def test_a_dry_run_only_shows_the_manifests(checkout: Path, programs: Programs) -> None:
    write_images(checkout)
    done = deploy(checkout, programs, kubectl(), "--dry-run")
    assert done.returncode == 0 and REFERENCES[0] in done.stdout
    assert [call.split()[1] for call in programs.calls] == ["kustomize"]


def test_the_smoke_test_passes_where_events_are_scored_and_fails_where_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(tmp_path)
    world.deploy("1", world.bundle())
    with world.server() as server:
        url = f"http://127.0.0.1:{int(server.port)}"
        event = {name: value for name, value in payment(1).items() if name != "payment"}
        assert smoke.main([url, "--event", json.dumps(event), "--id", "payment", "--seconds", "0.3"]) == 0
        assert "events scored" in capsys.readouterr().out
        broken = json.dumps(event | {"amount": "much"})
        assert smoke.main([url, "--event", broken, "--id", "payment", "--seconds", "0"]) == 1
        assert "amount" in capsys.readouterr().err
    assert smoke.main([url, "--event", json.dumps(event), "--id", "payment"]) == 1
    assert "after 0 events" in capsys.readouterr().err


def test_a_model_report_trains_the_base_with_the_base_s_code(tmp_path: Path, programs: Programs) -> None:
    """A repository of two commits whose `python` notes which code it would run."""
    repository = tmp_path / "repository"
    (repository / "infra" / "delivery").mkdir(parents=True)
    script = repository / "infra" / "delivery" / "model-report"
    script.write_bytes((DELIVERY / "model-report").read_bytes())
    script.chmod(0o755)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    (repository / ".gitignore").write_text("/runs/\n")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "one"], ["tag", "base"]):
        subprocess.run([*git, *words], cwd=repository, check=True)
    (repository / "changed").touch()
    for words in (["add", "-A"], ["commit", "-qm", "two"]):
        subprocess.run([*git, *words], cwd=repository, check=True)
    programs.add("python", 'echo "$PYTHONPATH $(pwd) $([ -f changed ] && echo new || echo old)"')
    done = programs.run([script, "base"], repository, PYTHON_BIN=str(programs.folder / "python"))
    assert done.returncode == 0, done.stderr
    work = repository / "runs" / "model"
    tree = work / "tree"
    assert done.stdout.splitlines() == [
        f"{tree} {tree} old",
        f"{tree} {tree} old",
        f"{repository} {repository} new",
        f"{repository} {repository} new",
    ]
    told = [call.partition("main() ")[2] for call in programs.calls]
    assert told == [
        f"simulate {work}/world --set customers=1500 --set days=63",
        f"--home {work}/base run --events {work}/world",
        f"--home {work}/head run --events {work}/world",
        f"--home {work}/head compare {work}/base --out {work}/report",
    ]
    assert not tree.exists()
    assert programs.run([script, "nowhere"], repository).returncode == 2
