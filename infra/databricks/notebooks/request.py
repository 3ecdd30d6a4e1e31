# Databricks notebook source
"""Whether monitoring's request to retrain is due, as a task value, which only notebooks can set."""

from mlops.settings import Settings
from pipelines.databricks import retraining_due

due = retraining_due(Settings.from_env(), dbutils.widgets.get("as_of"))  # noqa: F821 - Databricks' own
dbutils.jobs.taskValues.set(key="due", value=due)  # noqa: F821 - Databricks' own
