# Databricks notebook source
"""One candidate, on this task's cluster; the gate reads the result from the home."""

from mlops.settings import Settings
from pipelines.databricks import train

given = dbutils.widgets.get  # noqa: F821 - Databricks' own, as in every notebook
train(
    Settings.from_env(),
    run=given("run"),
    candidate=given("candidate"),
    train_from=given("train_from"),
    effort=given("effort"),
)
