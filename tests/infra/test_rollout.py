"""Rolling out and taking back: what is verified before, what is tried after, and to what a cluster goes back.

Cluster, cosign and gh are stand-ins; the record that the cluster keeps is real to them.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.infra.cluster import Cluster
from tests.infra.programs import REFERENCES, Programs, copy_delivery, note

SIGNED_BY = "https://github.com/owner/repository/.github/workflows/cd.yml@refs/tags/v1"
PARTS = {
    f"serving_{processor}": f"ghcr.io/owner/mlops-serving@sha256:{processor[0] * 64}"
    for processor in ("e", "f")
}
Script = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    made = Programs(tmp_path)
    made.add("cosign")
    made.add("gh")
    return made


@pytest.fixture
def cluster(tmp_path: Path, programs: Programs) -> Cluster:
    made = Cluster(tmp_path / "cluster", programs)
    made.render("good")
    return made


@pytest.fixture
def script(tmp_path: Path, programs: Programs, cluster: Cluster) -> Script:
    """A script of the delivery in a checkout of its own, in a job that has all that it needs."""
    checkout = copy_delivery(tmp_path / "checkout")
    note(checkout, "images", serving=REFERENCES[0], pipeline=REFERENCES[1])
    note(checkout, "parts", **PARTS)
    job = {
        "CI": "true",
        "SIGNED_BY": SIGNED_BY,
        "KUBE_CONFIG": "kind: Config",
        "SMOKE_URL": "https://a.example",
        "SMOKE_EVENT": "{}",
        "SMOKE_ID": "payment",
    }

    def run(name: str, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return programs.run([checkout / "infra/delivery" / name, *words], checkout, **job | variables)

    return run


@pytest.fixture
def deploy(script: Script, cluster: Cluster) -> Script:
    """Deploys a version whose manifests end with this line."""

    def run(version: str, last: str, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        cluster.render(last)
        return script("deploy", *words, VERSION=version, **variables)

    return run


def test_signatures_provenance_and_bills_of_materials_are_those_of_one_workflow_at_one_ref(
    deploy: Script, programs: Programs, cluster: Cluster
) -> None:
    done = deploy("v1", "good")
    assert done.returncode == 0, done.stderr
    calls = [call for call in programs.calls if call.startswith(("cosign", "gh"))]
    who = f"--certificate-oidc-issuer https://token.actions.githubusercontent.com --certificate-identity {SIGNED_BY}"
    assert {call for call in calls if call.startswith("cosign verify ")} == {
        f"cosign verify {who} {reference}" for reference in REFERENCES
    }
    assert {call for call in calls if call.startswith("cosign verify-attestation ")} == {
        f"cosign verify-attestation --type cyclonedx {who} {reference}" for reference in PARTS.values()
    }
    assert {call for call in calls if call.startswith("gh ")} == {
        f"gh attestation verify oci://{reference} --repo owner/repository --cert-identity {SIGNED_BY} "
        "--deny-self-hosted-runners"
        for reference in REFERENCES
    }
    assert cluster.applied == ["good"] and cluster.known == {"current": "v1"}


@pytest.mark.parametrize(
    ("program", "word"), [("cosign", "verify"), ("cosign", "verify-attestation"), ("gh", "attestation")]
)
def test_nothing_is_sent_of_what_is_not_verified(
    deploy: Script, programs: Programs, cluster: Cluster, program: str, word: str
) -> None:
    programs.add(program, f'[ "$1" != {word} ]')
    assert deploy("v1", "good").returncode == 1
    assert cluster.applied == [] and cluster.known == {}


@pytest.mark.parametrize("name", ["deploy", "roll-back"])
def test_a_job_without_access_says_so_and_a_person_s_own_access_is_used(
    script: Script, cluster: Cluster, name: str
) -> None:
    """A secret that does not reach a workflow is empty there, and kubectl would ask some cluster of its own."""
    about = {"VERSION": "v2", "RELEASE": "v2"}
    assert script("deploy", VERSION="v1").returncode == 0
    assert cluster.config.name == "kubeconfig" and not cluster.config.exists()
    done = script(name, KUBE_CONFIG="", **about)
    assert done.returncode == 2 and "KUBE_CONFIG is empty" in done.stderr
    assert cluster.applied == ["good"]
    assert script("deploy", VERSION="v2", KUBE_CONFIG="", CI="").returncode == 0
    assert cluster.config.name == "null"


@pytest.mark.parametrize(
    ("words", "variables", "said"),
    [
        (("deploy", "--dryrun"), {}, "unknown: --dryrun"),
        (("deploy", "--dry-run", "--help"), {}, "unknown"),
        (("roll-back", "--dry-run"), {}, "unknown"),
        (("deploy",), {"SIGNED_BY": ""}, "SIGNED_BY is not set"),
        (("deploy",), {"SMOKE_EVENT": ""}, "SMOKE_EVENT is not set"),
        (("roll-back",), {"RELEASE": ""}, "RELEASE is not set"),
    ],
)
def test_nothing_is_sent_on_a_word_that_it_does_not_know_or_without_what_it_needs(
    script: Script, cluster: Cluster, words: tuple[str, ...], variables: dict[str, str], said: str
) -> None:
    done = script(*words, **{"VERSION": "v1", "RELEASE": "v1"} | variables)
    assert done.returncode == 2 and said in done.stderr and len(done.stderr.splitlines()) == 1
    assert cluster.applied == [] and cluster.known == {}


def test_it_says_how_it_is_used_and_does_nothing_else(
    script: Script, cluster: Cluster, programs: Programs
) -> None:
    done = script("deploy", "--help")
    assert done.returncode == 0 and "--dry-run" in done.stdout and "SMOKE_URL" in done.stdout
    assert programs.calls == []


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("unknown", "kubectl knows no cluster"),
        ("silent", "Unable to connect to the server: no route to host"),
    ],
)
@pytest.mark.parametrize("name", ["deploy", "roll-back"])
def test_a_cluster_that_nobody_chose_or_that_does_not_answer_is_said_in_a_line(
    script: Script, cluster: Cluster, name: str, state: str, said: str
) -> None:
    """Without one kubectl asks localhost:8080, where a server of the platform may be."""
    (cluster.folder / state).touch()
    done = script(name, VERSION="v1", RELEASE="v1", KUBE_CONFIG="", CI="", KUBERNETES_SERVICE_HOST="")
    assert done.returncode == 2 and said in done.stderr and len(done.stderr.splitlines()) == 1
    assert cluster.applied == []


@pytest.mark.parametrize("last", ["half sent", "not ready", "no scores"])
def test_what_does_not_work_is_taken_back_to_what_did_with_all_its_manifests_and_that_is_tried(
    deploy: Script, programs: Programs, cluster: Cluster, last: str
) -> None:
    assert deploy("v1", "good").returncode == 0
    done = deploy("v2", last)
    assert done.returncode == 1 and "taking it back" in done.stderr
    assert cluster.applied == ["good", last, "good"]
    assert programs.calls[-1] == "make --no-print-directory smoke"
    assert cluster.known == {"current": "v1", "tried": "v2"}


def test_what_changed_nothing_is_not_taken_back(deploy: Script, cluster: Cluster, programs: Programs) -> None:
    """Images of the same input have the same digests: the release before would be an older one, not a better one."""
    for version in ("v0", "v1"):
        assert deploy(version, f"good {version}").returncode == 0
    programs.add("make", "exit 1")
    done = deploy("v2", "good v1")
    assert done.returncode == 1 and "changed nothing since v1" in done.stderr
    assert cluster.applied == ["good v0", "good v1", "good v1"]


def test_a_first_release_that_does_not_work_is_left_as_there_is_nothing_before(
    deploy: Script, cluster: Cluster
) -> None:
    done = deploy("v1", "not ready: nothing was promoted")
    assert done.returncode == 1 and "no release did here before" in done.stderr
    assert len(cluster.applied) == 1
    assert deploy("v1", "good").returncode == 0
    assert cluster.known == {"current": "v1"}


def test_a_release_that_worked_is_taken_back_by_its_name_once(
    deploy: Script, script: Script, cluster: Cluster
) -> None:
    for version in ("v1", "v2", "v3"):
        assert deploy(version, f"good {version}").returncode == 0
    for _ in range(2):
        done = script("roll-back", RELEASE="v3")
        assert done.returncode == 0 and "from v3 to v2" in done.stdout
        assert cluster.applied[-1] == "good v2"
    done = script("roll-back", RELEASE="v2")
    assert done.returncode == 2 and "no release is known that worked here before v2" in done.stderr
    assert len(cluster.applied) == 5


def test_after_it_was_taken_back_by_itself_a_person_does_not_bring_it_back(
    deploy: Script, script: Script, cluster: Cluster
) -> None:
    deploy("v1", "good v1")
    deploy("v2", "good v2")
    deploy("v3", "no scores")
    assert script("roll-back", RELEASE="v3").returncode == 0
    assert cluster.applied == ["good v1", "good v2", "no scores", "good v2", "good v2"]


def test_what_was_killed_half_way_is_taken_back(deploy: Script, script: Script, cluster: Cluster) -> None:
    deploy("v1", "good v1")
    deploy("v2", "good v2")
    assert deploy("v3", "lost").returncode < 0
    assert cluster.applied[-1] == "lost"
    assert script("roll-back", RELEASE="v3").returncode == 0
    assert cluster.applied[-1] == "good v2" and cluster.known["current"] == "v2"


class Orphan:
    """A script whose caller is gone, as a step's shell is that was cancelled: it waits for a rollout that is slow."""

    def __init__(self, checkout: Path, cluster: Cluster, script: Script) -> None:
        self.checkout, self.cluster, self._script = checkout, cluster, script
        step = checkout / "infra" / "delivery" / "step"
        step.write_text(
            '#!/bin/sh\n{ "infra/delivery/$1"; touch ended; } >orphan 2>&1 &\n'
            f"until [ -e {cluster.folder}/waited-for ]; do sleep 0.1; done\n"
        )
        step.chmod(0o755)

    def start(self, name: str, **variables: str) -> None:
        assert self._script("step", name, **variables).returncode == 0

    def end(self) -> str:
        """What it said; waits for its end."""
        until = time.monotonic() + 60
        while not (self.checkout / "ended").exists():
            assert time.monotonic() < until
            time.sleep(0.05)
        return (self.checkout / "orphan").read_text()


def processes(group: str) -> list[str]:
    words = ["ps", "-A", "-o", "pgid=", "-o", "stat=", "-o", "args="]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    lines = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    return [args for number, state, args in lines if number == group and state[0] != "Z"]


@pytest.fixture
def orphan(script: Script, tmp_path: Path, cluster: Cluster) -> Orphan:
    return Orphan(tmp_path / "checkout", cluster, script)


def test_a_cancelled_step_s_deploy_goes_on_and_is_ended_before_it_is_taken_back(
    deploy: Script, script: Script, cluster: Cluster, orphan: Orphan
) -> None:
    for version in ("v1", "v2"):
        deploy(version, f"good {version}")
    cluster.render("slow v3")
    orphan.start("deploy", VERSION="v3")
    group = (orphan.checkout / "runs" / "delivery" / "deploy.group").read_text().strip()
    assert len(processes(group)) == 2, "deploy and its kubectl, and nothing of who called it"
    done = script("roll-back", RELEASE="v3", CANCELLED="yes")
    assert processes(group) == [] and "has begun" not in orphan.end()
    assert (done.returncode, done.stdout, done.stderr) == (0, "roll-back: from v3 to v2\n", "")
    assert cluster.applied[2:] == ["slow v3", "good v2"] and cluster.known["current"] == "v2"


@pytest.mark.parametrize("code", [0, 1])
def test_a_deploy_that_outlives_its_roll_back_has_nothing_more_to_say(
    deploy: Script, script: Script, cluster: Cluster, programs: Programs, orphan: Orphan, code: int
) -> None:
    """On a machine that was given up for lost; whether the service works by then or not."""
    for version in ("v1", "v2"):
        deploy(version, f"good {version}")
    cluster.render("slow v3")
    orphan.start("deploy", VERSION="v3")
    assert script("roll-back", RELEASE="v3").returncode == 0
    programs.add("make", f"exit {code}")
    (cluster.folder / "ready").touch()
    assert "another deploy or roll-back has begun" in orphan.end()
    assert cluster.applied[2:] == ["slow v3", "good v2"]
    assert cluster.known == {"current": "v2", "previous": "v1", "tried": "v3"}


def test_a_roll_back_that_outlives_the_next_release_does_not_hide_it(
    deploy: Script, cluster: Cluster, orphan: Orphan
) -> None:
    (cluster.folder / "ready").touch()
    deploy("v1", "slow v1")
    assert deploy("v1", "lost").returncode < 0
    for name in ("ready", "waited-for"):
        (cluster.folder / name).unlink()
    orphan.start("roll-back", RELEASE="v1")
    assert deploy("v2", "good v2").returncode == 0
    (cluster.folder / "ready").touch()
    assert "another deploy or roll-back has begun" in orphan.end()
    assert cluster.known == {"current": "v2", "previous": "v1"}


def test_what_worked_stays_when_its_job_is_run_again_and_cancelled_before_it_sent_anything(
    deploy: Script, script: Script, cluster: Cluster, programs: Programs
) -> None:
    for version in ("v1", "v2"):
        deploy(version, f"good {version}")
    programs.add("cosign", "exit 1")
    assert deploy("v2", "good v2").returncode == 1
    before = cluster.known
    for version in ("v2", "v3"):
        done = script("roll-back", RELEASE=version, CANCELLED="yes")
        assert done.returncode == 0 and f"{version} is not half-way here" in done.stdout
    assert cluster.applied == ["good v1", "good v2"] and cluster.known == before


def test_a_release_tried_with_other_settings_goes_back_to_its_own_and_then_to_the_one_before(
    deploy: Script, script: Script, cluster: Cluster
) -> None:
    deploy("v1", "good v1")
    deploy("v2", "good v2")
    assert deploy("v2", "no scores").returncode == 1
    assert cluster.applied[-1] == "good v2" and cluster.known == {"current": "v2", "previous": "v1"}
    assert script("roll-back", RELEASE="v2").returncode == 0
    assert cluster.applied[-1] == "good v1"


def test_nothing_is_taken_back_from_what_is_not_there(
    deploy: Script, script: Script, cluster: Cluster
) -> None:
    assert script("roll-back", RELEASE="v1").returncode == 2
    deploy("v1", "good v1")
    deploy("v2", "good v2")
    for wrong in ("v1", "2", ""):
        assert script("roll-back", RELEASE=wrong).returncode != 0
    assert cluster.applied == ["good v1", "good v2"]


def test_a_release_before_that_does_not_work_either_is_said(
    deploy: Script, script: Script, programs: Programs
) -> None:
    deploy("v1", "good v1")
    deploy("v2", "good v2")
    programs.add("make", "exit 1")
    done = script("roll-back", RELEASE="v2")
    assert done.returncode == 1 and "v1 does not work, either" in done.stderr


@pytest.mark.parametrize("missing", ["SMOKE_URL", "VERSION", "SIGNED_BY"])
def test_nothing_is_sent_before_all_is_said(script: Script, cluster: Cluster, missing: str) -> None:
    assert script("deploy", **{"VERSION": "v1", missing: ""}).returncode != 0
    assert cluster.applied == []


def test_a_service_that_cannot_be_asked_is_only_waited_for(deploy: Script, programs: Programs) -> None:
    assert deploy("v1", "no scores", SMOKE_URL="none").returncode == 0
    assert not [call for call in programs.calls if call.startswith("make")]


def test_manifests_with_a_tag_in_them_are_not_sent(script: Script, cluster: Cluster) -> None:
    cluster.render("good", image="docker.io/library/redis:8")
    done = script("deploy", VERSION="v1")
    assert done.returncode == 1 and "not by digest" in done.stderr
    assert cluster.applied == []


def test_a_dry_run_only_shows_the_manifests(deploy: Script, programs: Programs) -> None:
    done = deploy("", "good", "--dry-run", KUBE_CONFIG="", SIGNED_BY="")
    assert done.returncode == 0 and REFERENCES[0] in done.stdout
    assert [call.split()[1] for call in programs.calls] == ["kustomize"]


@pytest.mark.system
def test_kubectl_keeps_manifests_as_they_are(tmp_path: Path) -> None:
    files = {"current": "v1", "current.yaml": "a: |\n  $x \"'\\n\t\n---\nb: ü\n", "previous": "f" * 40}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    words = ["kubectl", "--namespace", "mlops", "create", "configmap", "release", f"--from-file={tmp_path}"]
    done = subprocess.run(
        [*words, "--dry-run=client", "--output", "yaml"], capture_output=True, check=True, timeout=60
    )
    document = yaml.safe_load(done.stdout)
    assert (document["kind"], document["data"]) == ("ConfigMap", files)
