"""A version goes from candidate to archived, and each step says who took it, when and why."""

from __future__ import annotations

import getpass
import os
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from mlops.errors import ConfigError
from mlops.settings import Settings
from tests.training.registered import House, Models, refused
from training import registry, tracking
from training.gate import Verdict
from training.registry import champion
from training.registry.record import said


def tags(house: House, version: str) -> dict[str, str]:
    return dict(tracking.client(house.settings).get_model_version("machines", version).tags)


def test_a_version_goes_from_candidate_to_challenger_to_champion_to_archived(house: House) -> None:
    first = house.register(0)
    assert house.steps(first) == ["candidate", "challenger"]
    house.promote(first)
    second = house.register(1)
    house.promote(second)
    assert house.steps(first) == ["candidate", "challenger", "champion", "archived"]
    assert house.status().stages == {"champion": (second,), "archived": (first,)}
    assert (tags(house, first)["stage"], tags(house, second)["stage"]) == ("archived", "champion")


def test_a_step_says_who_took_it_when_and_why(house: House) -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    version = house.register()
    registry.promote(house.settings, version, by="ana", why="two weeks as the shadow")
    made, admitted, promoted = registry.history(house.settings)
    assert (made.by, made.action, made.version) == ("tester", "register", version)
    assert (admitted.by, admitted.why) == ("tester", "the gate admitted it")
    assert (promoted.by, promoted.why, promoted.action) == ("ana", "two weeks as the shadow", "promote")
    assert before <= datetime.fromisoformat(promoted.at) <= datetime.now(UTC)
    assert house.status().changed.by == "ana"


def test_a_champion_that_was_replaced_says_by_which_version_and_by_whom(house: House) -> None:
    house.promote(house.register(0))
    house.promote(house.register(1), by="ana", why="it finds more")
    last = registry.history(house.settings, "1")[-1]
    assert (last.stage, last.by, last.why) == ("archived", "ana", "version 2 replaced it: it finds more")


def test_a_refused_version_is_archived_with_the_refusals(house: House) -> None:
    result, verdict = house.train()
    version = registry.register(house.settings, result, refused(verdict))
    last = registry.history(house.settings, version)[-1]
    assert (last.stage, last.action, last.why) == ("archived", "register", "Refused: two frauds.")


def test_a_refused_run_that_is_admitted_later_challenges(house: House) -> None:
    result, verdict = house.train()
    version = registry.register(house.settings, result, refused(verdict))
    assert registry.register(house.settings, result, verdict) == version
    assert house.steps(version) == ["candidate", "archived", "challenger"]
    house.promote(version)


def test_an_earlier_challenger_is_a_candidate_again_and_may_still_be_promoted(house: House) -> None:
    first, second = house.register(0), house.register(1)
    assert house.status().stages == {"challenger": (second,), "candidate": (first,)}
    assert registry.history(house.settings, first)[-1].why == f"version {second} challenges instead"
    assert house.promote(first) == (first, None)


def test_a_withdrawn_challenger_is_a_candidate_again(house: House) -> None:
    version = house.register()
    registry.withdraw_challenger(house.settings, why="the next run admitted nobody")
    assert house.steps(version) == ["candidate", "challenger", "candidate"]
    assert registry.history(house.settings)[-1].why == "the next run admitted nobody"


def test_what_is_rejected_is_archived_and_never_promoted(house: House) -> None:
    result, verdict = house.train()
    version = registry.register(house.settings, result, verdict)
    done = registry.reject(house.settings, version, by="ana", why="it dislikes travellers")
    assert (done.stage, done.action, done.by) == ("archived", "reject", "ana")
    assert house.status().challenger is None
    with pytest.raises(
        ConfigError, match=r"it is archived: it was rejected by ana at .*: it dislikes travellers"
    ):
        house.promote(version)
    assert registry.register(house.settings, result, verdict) == version  # judged again
    assert house.status().stages == {"archived": (version,)}
    assert registry.reject(house.settings, version, by="ben") == done


def test_a_rejection_that_was_interrupted_is_finished_in_the_words_of_whoever_began_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = house.register()
    write = tracking.MlflowClient.set_model_version_tag

    def interrupted(client: tracking.MlflowClient, name: str, version: str, key: str, value: str) -> None:
        if key == "stage":
            raise KeyboardInterrupt
        write(client, name, version, key, value)

    with monkeypatch.context() as patch:
        patch.setattr(tracking.MlflowClient, "set_model_version_tag", interrupted)
        with pytest.raises(KeyboardInterrupt):
            registry.reject(house.settings, version, by="ana", why="it leaks")
    assert registry.reject(house.settings, version, by="ben").by == "ana"
    assert house.status().stages == {"archived": (version,)}
    assert house.steps(version) == ["candidate", "challenger", "archived"]


def test_the_champion_cannot_be_rejected(house: House) -> None:
    version = house.register()
    house.promote(version)
    with pytest.raises(
        ConfigError, match="it is the champion; promote another, or go back with `mlops rollback`"
    ):
        registry.reject(house.settings, version)
    assert house.status().champion == version


def test_nobody_rolls_back_to_a_rejected_champion(house: House) -> None:
    for seed in range(2):
        house.promote(house.register(seed))
    assert house.rollback() == ("1", "2")
    registry.reject(house.settings, "2", by="ana", why="it let losses through")
    with pytest.raises(
        ConfigError, match=r"version 2, the champion before this one, was rejected by ana at .*: it let"
    ):
        house.rollback()
    assert house.status().champion == "1"


def test_rolling_back_is_recorded_of_both_versions(house: House) -> None:
    for seed in range(2):
        house.promote(house.register(seed))
    house.rollback(by="ben", why="false alarms doubled")
    back, gone = (registry.history(house.settings, version)[-1] for version in "12")
    assert (back.stage, back.action, back.by, back.why) == (
        "champion",
        "roll back",
        "ben",
        "false alarms doubled",
    )
    assert (gone.stage, gone.action, gone.by) == ("archived", "roll back", "ben")


def test_an_archived_champion_comes_back_by_rolling_back_only(house: House) -> None:
    for seed in range(2):
        house.promote(house.register(seed))
    with pytest.raises(ConfigError, match=r"it is archived: version 2 replaced it; .*`mlops rollback`"):
        house.promote("1")
    house.rollback()
    with pytest.raises(ConfigError, match="it is archived: version 1 replaced it"):
        house.promote("2")


def test_rolling_back_does_not_need_the_pointer(house: House) -> None:
    for seed in range(2):
        house.promote(house.register(seed))
    house.settings.pointer.write_text("{")
    assert house.rollback() == ("1", "2")


def test_a_champion_that_is_judged_again_stays_the_champion(house: House) -> None:
    result, verdict = house.train()
    version = registry.register(house.settings, result, verdict)
    house.promote(version)
    registry.register(house.settings, result, refused(verdict))
    assert house.status().stages == {"champion": (version,)}
    house.settings.pointer.unlink()
    assert house.promote(version) == (version, None)


def test_what_the_champion_was_promoted_on_stays_when_it_is_judged_again(house: House) -> None:
    result, verdict = house.train()
    version = registry.register(house.settings, result, verdict)
    house.promote(version)
    registry.register(house.settings, result, refused(verdict))
    run = tracking.client(house.settings).get_run(result.run_id)
    path = Path(run.info.artifact_uri.removeprefix("file://")) / "verdict.json"
    assert msgspec.json.decode(path.read_bytes(), type=Verdict) == verdict
    assert run.data.tags["gate"] == "admitted"


def test_a_version_that_is_refused_again_says_why_it_is_now(house: House) -> None:
    result, verdict = house.train()
    first = refused(verdict)
    version = registry.register(house.settings, result, first)
    registry.register(house.settings, result, first)  # said once
    other = msgspec.structs.replace(
        first, checks=(msgspec.structs.replace(first.checks[0], text="Refused: it is slow."),)
    )
    registry.register(house.settings, result, other)
    steps = registry.history(house.settings, version)
    assert [step.why for step in steps if step.stage == "archived"] == [
        "Refused: two frauds.",
        "Refused: it is slow.",
    ]
    with pytest.raises(ConfigError, match=r"the gate refused it; Refused: it is slow\."):
        registry.promote(house.settings, version)


def test_the_champion_before_may_have_been_deleted(house: House) -> None:
    house.promote(house.register(0))
    second = house.register(1)
    house.promote(second)
    tracking.client(house.settings).delete_model_version("machines", "1")
    house.settings.pointer.unlink()
    assert house.promote(second) == (second, None)
    with pytest.raises(ConfigError, match="no version '1' of model 'machines'"):
        house.rollback()


def test_an_alias_that_was_moved_by_other_means_shows_and_is_not_believed(house: House) -> None:
    house.promote(house.register(0))
    other = house.register(1)
    tracking.client(house.settings).set_registered_model_alias("machines", "champion", other)
    status = house.status()
    assert status.champion == "1"
    assert status.differences == (
        "The alias of the champion, version 1, is on version 2: promote version 1 again.",
    )
    house.promote("1")
    assert house.status().differences == ()
    assert tracking.client(house.settings).get_model_version_by_alias("machines", "champion").version == 1


def test_the_verdict_is_compared_with_todays_champion_and_not_with_this_machines_pointer(
    house: House,
) -> None:
    """Two machines on one database: what another one promoted counts here, too."""
    here = house.settings
    house.promote(house.register(0))
    elsewhere = msgspec.structs.replace(
        here, home=here.home / "elsewhere", tracking_uri=here.mlflow_uri, signing_key=str(here.keys)
    )
    second, third = house.register(1), house.register(2)
    registry.promote(elsewhere, second)
    assert house.status().differences == (
        "Version 2 is champion, the pointer names 1: promote version 2 again.",
    )
    with pytest.raises(ConfigError, match="did not compare it with today's champion: version 2 is"):
        house.promote(third)
    assert house.promote(second) == (second, "1")
    assert house.status().differences == ()


def test_the_bundle_of_the_champion_before_lies_beside_the_pointer_as_well(house: House) -> None:
    here = house.settings
    house.promote(house.register(0))
    house.promote(house.register(1))
    elsewhere = msgspec.structs.replace(here, home=here.home / "elsewhere", tracking_uri=here.mlflow_uri)
    deployment = registry.promote(elsewhere, "2")
    folders = {path.name for path in (elsewhere.pointer.parent / "bundles").iterdir()}
    assert folders == {deployment.champion.digest, deployment.previous.digest}


def test_a_promotion_that_fails_before_it_took_effect_shows_until_it_is_given_up(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.promote(house.register(0))
    version = house.register(1)

    def lost() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(champion, "settle", lambda *_: lost() if patch else None)
        with pytest.raises(KeyboardInterrupt):
            house.promote(version)
    assert house.status().differences == ()  # nothing was begun

    with monkeypatch.context() as patch:
        patch.setattr(tracking.MlflowClient, "set_registered_model_alias", lambda *_: lost())
        with pytest.raises(KeyboardInterrupt):
            house.promote(version, by="ana")
    (difference,) = house.status().differences
    assert difference.startswith("What was begun, to promote, of version 2 by ana at ")
    assert difference.endswith("did not take effect: promote version 2 again, or reject it.")
    registry.reject(house.settings, version)
    assert house.status().differences == ()


def test_long_words_fit_into_every_database(house: House) -> None:
    """PostgreSQL refuses what is longer than MLflow's columns; SQLite takes it."""
    result, verdict = house.train()
    check = msgspec.structs.replace(verdict.checks[0], text=textwrap.fill("Passed: " + "word " * 3000, 90))
    wordy = msgspec.structs.replace(verdict, checks=(check,))
    version = registry.register(house.settings, result, wordy, by="n" * 9000)
    registry.promote(house.settings, version, by="n" * 9000, why="\u20ac" * 9000)
    client = tracking.client(house.settings)
    assert len(client.get_model_version("machines", version).description) <= 5000
    assert all(len(text) <= 5000 for text in client.get_registered_model("machines").tags.values())


def test_the_record_names_the_user_unless_told_otherwise(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = models.settings
    monkeypatch.setenv("LOGNAME", "the-system-user")
    assert said(settings).by == "the-system-user"
    named = Settings.from_env({"MLOPS_HOME": str(settings.home), "MLOPS_USER": "ci"})
    assert said(named).by == "ci"
    assert said(named, "ana").by == "ana"


def test_a_user_without_a_name_is_named_by_number(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs under any user id: no name in the environment, none in the system's list."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54_321)
    with pytest.raises((KeyError, OSError)):
        getpass.getuser()
    assert said(models.settings).by == "uid 54321"
