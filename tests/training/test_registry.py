"""Promotion moves the alias and writes the pointer; whatever interrupts it, promoting again mends it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from mlops.bundle import open_bundle
from mlops.deployment import bundle_path, read_deployment, write_deployment
from mlops.errors import BundleError, ConfigError, InputError, IntegrityError
from mlops.settings import Settings
from mlops.signing import PUBLIC_KEY
from tests.training.registered import House, refused
from training import registry, tracking
from training.copy_record import copy_record
from training.gate import Verdict
from training.registry import champion


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
    assert deployment.previous is None


def test_the_verdict_stays_with_the_run(house: House) -> None:
    result, verdict = house.train()
    registry.register(house.settings, result, verdict)
    run = tracking.client(house.settings).get_run(result.run_id)
    path = Path(run.info.artifact_uri.removeprefix("file://")) / "verdict.json"
    assert msgspec.json.decode(path.read_bytes(), type=Verdict) == verdict
    assert run.data.tags["gate"] == "admitted"


def test_a_run_that_mlflow_has_not_is_not_registered(house: House) -> None:
    result, verdict = house.train()
    gone = "0" * 32  # as from a cache that outlived the record
    with pytest.raises(InputError, match=f"run {gone}: MLflow has no such run; train again"):
        registry.register(
            house.settings,
            msgspec.structs.replace(result, run_id=gone),
            msgspec.structs.replace(verdict, run_id=gone),
        )


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
    registry.promote(house.settings, house.register(seed=0))
    version = house.register(seed=1)
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
    repaired = read_deployment(pointer)
    assert repaired.champion == wanted.champion
    assert repaired.previous == wanted.previous


def test_an_interrupted_promotion_shows_and_is_repaired(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = house.register()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(champion, "write_deployment", interrupted)
        with pytest.raises(KeyboardInterrupt):
            registry.promote(house.settings, version)
    assert house.status().differences == (
        f"Version {version} is champion, but there is no pointer: promote version {version} again.",
    )
    registry.promote(house.settings, version)
    assert house.status().differences == ()


def test_all_that_serving_reads_lies_in_the_pointers_folder(house: House, tmp_path: Path) -> None:
    version = house.register()
    deployment = registry.promote(house.settings, version)
    assert deployment.champion.uri == f"bundles/{deployment.champion.digest}"
    mounted = tmp_path / "elsewhere"
    house.settings.pointer.parent.rename(mounted)
    shutil.rmtree(house.settings.artifacts)
    path = bundle_path(mounted / "current.json", deployment.champion)
    bundle = open_bundle(path, public_key=house.settings.keys / PUBLIC_KEY)
    assert bundle.digest == deployment.champion.digest


@pytest.mark.parametrize("damage", ["altered", "incomplete", "gone"])
def test_promoting_again_repairs_what_serving_reads(house: House, damage: str) -> None:
    version = house.register()
    house.promote(version)
    path = house.published()
    if damage == "altered":
        (path / "policy.json").write_text('{"review_at": 2, "decline_at": 2}')
    elif damage == "incomplete":
        (path / "model.onnx").unlink()
    else:
        shutil.rmtree(path)
    (difference,) = house.status().differences
    assert "What serving reads is not the champion's bundle" in difference
    house.promote(version)
    assert house.status().differences == ()


def test_what_was_published_already_is_not_written_again(house: House) -> None:
    version = house.register()
    house.promote(version)
    before = house.published().stat()
    house.promote(version)
    assert house.published().stat().st_ino == before.st_ino


def test_rolling_back_promotes_the_champion_before_and_not_the_version_before(house: House) -> None:
    first = [house.register(seed) for seed in range(3)]
    assert house.promote(first[2]) == ("3", None)
    with pytest.raises(ConfigError, match="no champion before this one"):
        registry.rollback(house.settings)
    second = [house.register(seed) for seed in range(3, 6)]
    assert house.promote(second[2]) == ("6", "3")
    assert house.promote(second[2]) == ("6", "3")
    assert house.rollback() == ("3", "6")
    assert house.status().champion == "3"
    assert house.rollback() == ("6", "3")


def test_without_a_promotion_there_is_nothing_to_roll_back(house: House) -> None:
    house.register()
    with pytest.raises(ConfigError, match="nothing was ever promoted"):
        registry.rollback(house.settings)


def test_a_verdict_about_another_champion_does_not_count(house: House) -> None:
    """Neither one given when there was no champion, nor one about a champion that is no longer."""
    first, beside = house.register(seed=0), house.register(seed=1)
    house.promote(first)
    with pytest.raises(ConfigError, match="did not compare it with today's champion: version 1 is"):
        house.promote(beside)
    second, third = house.register(seed=2), house.register(seed=3)
    house.promote(second)
    with pytest.raises(ConfigError, match="today's champion: version 3 is"):
        house.promote(third)
    assert house.status().champion == second
    assert house.status().differences == ()


def test_a_run_that_was_judged_again_can_follow_the_champion_of_today(house: House) -> None:
    first = house.register(seed=0)
    result, verdict = house.train(seed=1)
    second = registry.register(house.settings, result, verdict)
    house.promote(first)
    assert registry.register(house.settings, result, house.judge(result)) == second
    assert house.promote(second) == (second, first)


def test_a_lost_pointer_is_written_again_for_the_champion_and_for_nobody_judged_against_another(
    house: House,
) -> None:
    first = house.register(seed=0)
    house.promote(first)
    second, third = house.register(seed=1), house.register(seed=2)
    house.promote(second)
    house.settings.pointer.unlink()
    with pytest.raises(ConfigError, match="today's champion: version 2 is"):
        house.promote(third)
    assert house.promote(second) == (second, first)


def test_an_unreadable_pointer_is_replaced_for_the_champion_only(house: House) -> None:
    first, second = house.register(seed=0), house.register(seed=1)
    house.promote(first)
    house.settings.pointer.write_text("{")
    with pytest.raises(InputError, match="not a valid Deployment"):
        house.promote(second)
    assert house.promote(first) == (first, None)


def test_an_interrupted_promotion_over_a_champion_remembers_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = house.register(seed=0)
    house.promote(first)
    second = house.register(seed=1)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(champion, "write_deployment", interrupted)
        with pytest.raises(KeyboardInterrupt):
            registry.promote(house.settings, second)
    assert house.promote(second) == (second, first)


def test_a_challenger_can_be_withdrawn(house: House) -> None:
    registry.withdraw_challenger(house.settings)
    house.register()
    assert house.status().challenger is not None
    registry.withdraw_challenger(house.settings)
    registry.withdraw_challenger(house.settings)
    assert house.status().challenger is None


def test_a_bundle_that_was_tampered_with_is_not_promoted(house: House) -> None:
    first = house.register(seed=0)
    deployment = registry.promote(house.settings, first)
    second = house.register(seed=1)
    (house.source(second) / "policy.json").write_text('{"review_at": 2, "decline_at": 2}')
    with pytest.raises(IntegrityError, match=r"policy\.json"):
        registry.promote(house.settings, second)
    assert read_deployment(house.settings.pointer) == deployment
    assert house.status().champion == first


def test_another_signed_bundle_in_its_place_is_not_promoted(house: House) -> None:
    """A rightly signed bundle, but not the one that the gate judged."""
    first, second = house.register(seed=0), house.register(seed=1)
    for path in house.source(first).iterdir():
        (house.source(second) / path.name).write_bytes(path.read_bytes())
    with pytest.raises(BundleError, match="not the bundle that the gate judged"):
        registry.promote(house.settings, second)


def test_an_unknown_version_is_refused_in_one_line(house: House) -> None:
    house.register()
    with pytest.raises(ConfigError, match="no version '9' of model 'machines'"):
        registry.promote(house.settings, "9")
    with pytest.raises(ConfigError, match="no version 'newest' of model 'machines'"):
        registry.promote(house.settings, "newest")


def test_nothing_registered_is_a_status_too(settings: Settings) -> None:
    tracking.prepare_tracking(settings, "machines")
    found = registry.status(settings)
    assert (found.champion, found.challenger, found.deployment, found.differences) == (None, None, None, ())


@pytest.mark.parametrize(
    "ask",
    [
        registry.status,
        registry.history,
        registry.rollback,
        registry.feature_names,
        lambda settings: registry.promote(settings, "1"),
        lambda settings: registry.must_be_promotable(settings, "1"),
        lambda settings: registry.reject(settings, "1"),
        lambda settings: registry.bundle_of(settings, "1"),
        lambda settings: copy_record(settings, "postgresql+psycopg://127.0.0.1:1/record"),
    ],
)
def test_asking_in_a_folder_that_is_no_home_makes_nothing_there(
    settings: Settings, tmp_path: Path, ask: Callable[[Settings], object]
) -> None:
    empty, missing = tmp_path / "empty", tmp_path / "mistyped"
    empty.mkdir()
    with pytest.raises(ConfigError, match=f"{empty}: no home with a model"):
        ask(msgspec.structs.replace(settings, home=empty))
    with pytest.raises(ConfigError, match=f"{missing}: no such home"):
        ask(msgspec.structs.replace(settings, home=missing))
    assert not list(empty.iterdir()) and not missing.exists()
