"""Promotion moves the alias and writes the pointer; whatever interrupts it, promoting again mends it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from mlops.deployment import read_deployment, write_deployment
from mlops.errors import BundleError, ConfigError, IntegrityError
from mlops.settings import Settings
from mlops.signing import PUBLIC_KEY
from tests.training import example
from tests.training.example import USE_CASE
from training import registry, tracking
from training.gate import Verdict, judge
from training.train import TrainResult, train_candidate


class House:
    """A home in which candidates are trained, judged and registered."""

    def __init__(self, settings: Settings, features: Path) -> None:
        self.settings, self.features = settings, features

    def train(self, seed: int = 0) -> tuple[TrainResult, Verdict]:
        out = self.settings.bundles / str(seed)
        result = train_candidate(example.spec(self.settings.home, self.features, seed=seed, out=out))
        key = self.settings.keys / PUBLIC_KEY
        return result, judge(result, USE_CASE, champion=None, features=self.features, public_key=key)

    def register(self, seed: int = 0) -> str:
        return registry.register(self.settings, *self.train(seed))

    def status(self) -> registry.Status:
        return registry.status(self.settings)


@pytest.fixture
def house(settings: Settings, features: Path) -> House:
    return House(settings, features)


def refused(verdict: Verdict) -> Verdict:
    checks = (msgspec.structs.replace(verdict.checks[0], passed=False, text="Refused: two frauds."),)
    return msgspec.structs.replace(verdict, admitted=False, checks=checks)


def test_a_registered_model_is_the_challenger_and_a_promoted_one_answers(house: House) -> None:
    version = house.register()
    before = house.status()
    assert (before.champion, before.challenger, before.deployment) == (None, version, None)

    deployment = registry.promote(house.settings, version)
    after = house.status()
    assert (after.champion, after.challenger, after.differences) == (version, None, ())
    assert read_deployment(house.settings.pointer) == deployment
    assert deployment.champion.version == version
    assert deployment.champion.candidate == "trees"
    bundle = Path(deployment.champion.uri)
    assert bundle.is_relative_to(house.settings.artifacts)
    assert (bundle / "manifest.json").is_file()


def test_the_verdict_stays_with_the_run(house: House) -> None:
    result, verdict = house.train()
    registry.register(house.settings, result, verdict)
    run = tracking.client(house.settings).get_run(result.run_id)
    path = Path(run.info.artifact_uri.removeprefix("file://")) / "verdict.json"
    assert msgspec.json.decode(path.read_bytes(), type=Verdict) == verdict
    assert run.data.tags["gate"] == "admitted"


def test_registering_a_run_again_gives_the_version_that_it_has(house: House) -> None:
    result, verdict = house.train()
    first = registry.register(house.settings, result, verdict)
    assert registry.register(house.settings, result, verdict) == first


def test_a_refused_model_is_recorded_but_neither_challenges_nor_can_be_promoted(house: House) -> None:
    result, verdict = house.train()
    version = registry.register(house.settings, result, refused(verdict))
    assert house.status().challenger is None
    with pytest.raises(ConfigError, match=r"the gate refused it; Refused: two frauds\."):
        registry.promote(house.settings, version)
    assert house.status().champion is None
    assert not house.settings.pointer.exists()


def test_a_verdict_about_another_run_is_not_accepted(house: House) -> None:
    result, verdict = house.train()
    with pytest.raises(ConfigError, match="is about run"):
        registry.register(house.settings, msgspec.structs.replace(result, run_id="other"), verdict)


def test_promoting_twice_changes_nothing(house: House) -> None:
    version = house.register()
    registry.promote(house.settings, version)
    before = house.settings.pointer.stat()
    registry.promote(house.settings, version)
    assert house.settings.pointer.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize("damage", ["missing", "other version", "other digest", "unreadable"])
def test_promoting_again_repairs_a_pointer_that_differs(house: House, damage: str) -> None:
    version = house.register()
    wanted = registry.promote(house.settings, version)
    pointer = house.settings.pointer
    if damage == "missing":
        pointer.unlink()
    elif damage == "unreadable":
        pointer.write_text("{")
    else:
        change = {"version": "7"} if damage == "other version" else {"digest": "0"}
        other = msgspec.structs.replace(wanted.champion, **change)
        write_deployment(pointer, msgspec.structs.replace(wanted, champion=other))
    if damage != "unreadable":
        (difference,) = house.status().differences
        assert f"promote version {version} again" in difference
    registry.promote(house.settings, version)
    assert house.status().differences == ()
    assert read_deployment(pointer).champion == wanted.champion


def test_an_interrupted_promotion_shows_and_is_repaired(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = house.register()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(registry, "write_deployment", interrupted)
        with pytest.raises(KeyboardInterrupt):
            registry.promote(house.settings, version)
    assert house.status().differences == (
        f"Version {version} is champion, but there is no pointer: promote version {version} again.",
    )
    registry.promote(house.settings, version)
    assert house.status().differences == ()


def test_rolling_back_promotes_the_version_before(house: House) -> None:
    first, second = house.register(seed=0), house.register(seed=1)
    registry.promote(house.settings, first)
    old = read_deployment(house.settings.pointer)
    registry.promote(house.settings, second)
    assert registry.rollback(house.settings).champion == old.champion
    assert house.status().champion == first
    with pytest.raises(ConfigError, match="no earlier admitted version"):
        registry.rollback(house.settings)


def test_a_bundle_that_was_tampered_with_is_not_promoted(house: House) -> None:
    first, second = house.register(seed=0), house.register(seed=1)
    deployment = registry.promote(house.settings, first)
    bundle = Path(tracking.client(house.settings).get_model_version("machines", second).source[7:])
    (bundle / "policy.json").write_text('{"review_at": 2, "decline_at": 2}')
    with pytest.raises(IntegrityError, match=r"policy\.json"):
        registry.promote(house.settings, second)
    assert read_deployment(house.settings.pointer) == deployment
    assert house.status().champion == first


def test_another_signed_bundle_in_its_place_is_not_promoted(house: House) -> None:
    """A rightly signed bundle, but not the one that the gate judged."""
    first, second = house.register(seed=0), house.register(seed=1)
    folders = [
        Path(tracking.client(house.settings).get_model_version("machines", version).source[7:])
        for version in (first, second)
    ]
    for path in folders[0].iterdir():
        (folders[1] / path.name).write_bytes(path.read_bytes())
    with pytest.raises(BundleError, match="not the bundle that the gate judged"):
        registry.promote(house.settings, second)


def test_an_unknown_version_is_refused_in_one_line(house: House) -> None:
    house.register()
    with pytest.raises(ConfigError, match="no version '9' of model 'machines'"):
        registry.promote(house.settings, "9")
    with pytest.raises(ConfigError, match="no version 'newest' of model 'machines'"):
        registry.promote(house.settings, "newest")


def test_nothing_registered_is_a_status_too(settings: Settings) -> None:
    found = registry.status(settings)
    assert (found.champion, found.challenger, found.deployment, found.differences) == (None, None, None, ())
