"""Spark's own settings, from the platform's."""

from __future__ import annotations

import socket
import threading
from types import SimpleNamespace

import msgspec
import pytest
from pyspark import SparkContext
from pyspark.sql import SparkSession

from mlops.errors import ConfigError, SetupError
from mlops.settings import Settings
from pipelines import spark_master
from pipelines.ports import free_port
from pipelines.spark import session
from pipelines.spark_master import see_master


def test_more_of_spark_s_settings_can_be_given(spark: SparkSession) -> None:
    name = "spark.sql.autoBroadcastJoinThreshold"
    before = str(spark.conf.get(name))
    settings = Settings(spark_master="local[2]", spark_memory="1g")
    more = msgspec.structs.replace(settings, spark_conf=f" {name} = 7b ; spark.sql.maxPlanStringLength=99")
    try:
        assert session(more).conf.get(name) == "7b"
        assert spark.conf.get("spark.sql.maxPlanStringLength") == "99"
    finally:
        spark.conf.set(name, before)
        spark.conf.unset("spark.sql.maxPlanStringLength")


@pytest.mark.parametrize("text", ["spark.executor.memory", "executor.memory=8g", "spark.a=1;=2"])
def test_what_is_no_setting_of_spark_s_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"MLOPS_SPARK_CONF: .* is no setting of Spark's"):
        session(Settings(spark_conf=text))


def test_a_master_that_does_not_listen_is_named_before_spark_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SparkContext, "_active_spark_context", None)
    master = f"spark://127.0.0.1:{free_port()}"
    with pytest.raises(
        SetupError, match=f"^MLOPS_SPARK_MASTER={master}: no Spark master answers: connection ref"
    ):
        session(Settings(spark_master=master))


def test_one_of_several_masters_has_to_listen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        see_master(f"spark://no.such.host.invalid:7077,127.0.0.1:{listening.getsockname()[1]}")


@pytest.mark.parametrize(
    "master", ["local", "local[*]", "local[2,4]", "k8s://https://nowhere.invalid", "yarn"]
)
def test_a_master_without_an_address_of_its_own_is_left_to_spark(master: str) -> None:
    see_master(master)


@pytest.mark.parametrize(
    "master", ["nonsense", "local[x]", "spark://", "spark://a", "spark://a:1,", "spark://a:99999"]
)
def test_what_is_no_master_is_refused(master: str) -> None:
    with pytest.raises(ConfigError, match=r"MLOPS_SPARK_MASTER: .* is no master of Spark's"):
        see_master(master)


def test_a_cluster_is_watched_from_a_session_on_that_is_not_whole_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spark_master, "_LOOK_S", 0.01)
    monkeypatch.setattr(spark_master, "_GRACE_S", 0.1)
    stopped = threading.Event()
    java = SimpleNamespace(getExecutorMemoryStatus=lambda: SimpleNamespace(size=lambda: 1), stop=stopped.set)
    context = SimpleNamespace(
        master=f"spark://127.0.0.1:{free_port()}"
    )  # which Spark sets before it has begun
    monkeypatch.setattr(SparkContext, "_active_spark_context", context)
    with spark_master.watched() as watch:
        assert not stopped.wait(0.3)
        context._jsc = SimpleNamespace(sc=lambda: java)
        assert stopped.wait(30)
    assert watch.lost == context.master
