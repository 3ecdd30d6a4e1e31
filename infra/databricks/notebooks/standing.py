# Databricks notebook source
"""The version that waits for promotion, as a task value, which only notebooks can set."""

from mlops.settings import Settings
from pipelines.databricks import challenger

dbutils.jobs.taskValues.set(key="challenger", value=challenger(Settings.from_env()))  # noqa: F821 - Databricks' own
