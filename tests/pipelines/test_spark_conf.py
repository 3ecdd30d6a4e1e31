"""Spark's own settings, from the platform's."""

from __future__ import annotations

import msgspec
import pytest
from pyspark.sql import SparkSession

from mlops.errors import ConfigError
from mlops.settings import Settings
from pipelines.spark import session


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
