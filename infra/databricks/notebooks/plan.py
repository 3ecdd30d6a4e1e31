# Databricks notebook source
"""What this run trains on, for all its candidates; their tasks read it from the home."""

from mlops.settings import Settings
from pipelines.databricks import plan

given = dbutils.widgets.get  # noqa: F821 - Databricks' own, as in every notebook
print(plan(Settings.from_env(), run=given("run"), train_from=given("train_from")))
