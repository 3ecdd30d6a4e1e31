# Databricks notebook source
"""The gate over what this run's tasks trained, and the registry."""

from mlops.settings import Settings
from pipelines.databricks import gate

print(gate(Settings.from_env(), run=dbutils.widgets.get("run")).sentence)  # noqa: F821 - Databricks' own
