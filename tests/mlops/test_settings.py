"""Settings come from the environment, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops.errors import ConfigError
from mlops.settings import Settings, without_password


def test_defaults_need_no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings.from_env({})
    assert settings.home == tmp_path / "runs" / "main"
    assert settings.usecase == "usecases.fraud"
    assert settings.mlflow_uri == f"sqlite:///{tmp_path}/runs/main/mlflow.db"


def test_the_environment_overrides_defaults_and_arguments_override_it(tmp_path: Path) -> None:
    env = {"MLOPS_HOME": str(tmp_path / "env"), "MLOPS_SPARK_MEMORY": "4g", "MLOPS_UNKNOWN": "ignored"}
    settings = Settings.from_env(env, home=str(tmp_path / "argument"), usecase=None)
    assert settings.home == tmp_path / "argument"
    assert settings.spark_memory == "4g"
    assert settings.usecase == "usecases.fraud"


def test_a_home_is_absolute_and_knows_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Settings.from_env({"MLOPS_HOME": "~/fraud"}).home == tmp_path / "fraud"


def test_another_tracking_server_replaces_the_local_database() -> None:
    assert (
        Settings.from_env({"MLOPS_TRACKING_URI": "http://127.0.0.1:5000"}).mlflow_uri
        == "http://127.0.0.1:5000"
    )


@pytest.mark.parametrize("name", ["MLOPS_HOME", "MLOPS_USECASE"])
def test_an_empty_setting_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: is empty"):
        Settings.from_env({name: ""})


def test_a_table_lies_in_the_home_or_in_the_folder_that_its_uri_names(tmp_path: Path) -> None:
    env = {
        "MLOPS_HOME": str(tmp_path / "home"),
        "MLOPS_EVENTS_URI": f"file://{tmp_path}/shared/events",
        "MLOPS_FEATURES_URI": "s3://bucket/features",
    }
    settings = Settings.from_env(env)
    assert settings.events == tmp_path / "shared" / "events"
    assert settings.quarantine == tmp_path / "home" / "quarantine"
    assert settings.features == tmp_path / "home" / "features"  # the copy


def test_the_store_lies_in_the_home_unless_a_redis_is_named(tmp_path: Path) -> None:
    assert Settings.from_env({"MLOPS_HOME": str(tmp_path)}).store_uri == str(tmp_path / "store")
    uri = "redis://:s3cret@127.0.0.1:6379/0"
    assert Settings.from_env({"MLOPS_STORE": uri}).store_uri == uri


def test_a_uri_is_shown_without_its_password_and_query() -> None:
    assert without_password("redis://me:s3cret@host:1/0?password=s3cret") == "redis://me@host:1/0"
    assert without_password("rediss://:s3cret@[::1]:1") == "rediss://@[::1]:1"
    assert without_password("/a folder") == "/a folder"
    assert without_password("sqlite:////tmp/x/mlflow.db?password=s3cret") == "sqlite:////tmp/x/mlflow.db"
