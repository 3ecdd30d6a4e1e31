"""What a contributor's tools are told agrees with what the pipeline runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import yaml

from tests.infra.workflows import make_targets

ROOT = Path(__file__).resolve().parents[2]
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
# What decides which code and packages are built, tested, signed and deployed.
DECIDES = {
    *(
        "/.ci/",
        "/.github/",
        "/.pre-commit-config.yaml",
        "/Makefile",
        "/infra/compile-locks",
        "/infra/delivery/",
    ),
    *("/infra/docker/", "/infra/lock/", "/infra/setup", "/infra/supply/", "/infra/system-packages"),
    *("/pyproject.toml", "/renovate.json", "/tests/infra/actionlint/"),
}
DEVCONTAINER = ROOT / ".devcontainer"


def test_hooks_are_the_locked_tools_and_nothing_is_fetched() -> None:
    (repository,) = HOOKS
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        program = hook["entry"].split()[0]
        if program.startswith(".venv/bin/"):
            assert Path(sys.executable).with_name(Path(program).name).exists(), program
        else:
            assert (ROOT / program).exists(), program


def test_what_make_lint_runs_a_hook_runs_too() -> None:
    (recipe,) = re.findall(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    entries = " ".join(hook["entry"] for hook in HOOKS[0]["hooks"])
    programs = re.findall(r"\$\(BIN\)/([a-z]+)|(infra/[a-z-]+)", recipe)
    assert {"ruff", "mypy", "zizmor"} <= {name for name, _ in programs}
    for pair in programs:
        assert (pair[0] or pair[1]) in entries
    assert "hadolint" in entries and "-k actionlint" in entries


def test_renovate_leaves_the_compiled_locks_alone_and_finds_each_container_file() -> None:
    told = json.loads((ROOT / "renovate.json").read_text())
    assert told["pip_requirements"] == {"enabled": False}
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    (pattern,) = told["dockerfile"]["managerFilePatterns"]
    found = [name for name in listed if re.search(pattern.strip("/"), name)]
    assert {name for name in listed if name.endswith("Dockerfile")} == set(found)
    (tool,) = told["customManagers"]
    (held,) = [name for name in listed if re.search(tool["managerFilePatterns"][0].strip("/"), name)]
    expression = tool["matchStrings"][0].replace("(?<", "(?P<")
    assert re.findall(expression, (ROOT / held).read_text()) == [("pip-audit", "2.10.1")]


def test_renovate_does_not_wait_for_a_digest_to_be_old_as_nothing_says_how_old_one_is() -> None:
    """A digest has no time of release, and what has none never gets to an age."""
    told = json.loads((ROOT / "renovate.json").read_text())
    assert told["minimumReleaseAge"] == "7 days"
    (waived,) = [rule for rule in told["packageRules"] if "minimumReleaseAge" in rule]
    assert waived["minimumReleaseAge"] is None and waived["matchUpdateTypes"] == ["digest"]
    (base,) = re.findall(r"^ARG DEBIAN=([^:]+):", (DEVCONTAINER / "Dockerfile").read_text(), re.MULTILINE)
    assert waived["matchPackageNames"] == [base]


def test_renovate_looks_where_the_tests_keep_a_lock() -> None:
    """`config:recommended` leaves all folders out that are called tests."""
    told = json.loads((ROOT / "renovate.json").read_text())
    assert not [pattern for pattern in told["ignorePaths"] if "test" in pattern]
    assert list((ROOT / "tests").glob("**/package-lock.json"))


def test_the_dev_container_stands_on_the_images_base_and_sets_up_by_make() -> None:
    told = json.loads((DEVCONTAINER / "devcontainer.json").read_text())
    base = re.compile(r"^ARG DEBIAN=(\S+)$", re.MULTILINE)
    own = base.findall((DEVCONTAINER / told["build"]["dockerfile"]).read_text())
    assert own == base.findall((ROOT / "infra" / "docker" / "serving.Dockerfile").read_text())
    called = re.findall(r"make ([a-z-]+)", f"{told['onCreateCommand']} {told['postAttachCommand']}")
    assert called and set(called) <= make_targets()


def test_hadolint_has_nothing_to_say_of_the_dev_container() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [hadolint, "--no-color", DEVCONTAINER / "Dockerfile"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and not done.stdout, done.stdout + done.stderr


def test_each_folder_of_the_project_has_an_owner_and_each_owned_path_is_there() -> None:
    lines = [
        line.split()
        for line in (ROOT / ".github" / "CODEOWNERS").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert lines[0][0] == "*"
    guarded = {path for path, *owners in lines if "@OWNER/security" in owners}
    assert guarded >= DECIDES
    for path, *owners in lines:
        assert owners and all(re.fullmatch(r"@[\w-]+/[\w-]+", owner) for owner in owners)
        assert path == "*" or (ROOT / path.strip("/")).exists(), path


def test_documents_name_targets_that_the_makefile_has() -> None:
    named = {
        target
        for name in ("CONTRIBUTING.md", "SECURITY.md", "docs/delivery.md", "docs/forking.md")
        for line in re.findall(r"make ((?:[a-z-]+ ?)+)(?=[`\s]|$)", (ROOT / name).read_text())
        for target in line.split()[:1]
    }
    assert {"hooks", "model-report", "nightly", "lock"} <= named
    assert named <= make_targets()
