# Databricks notebook source
"""A copy of the champion for Unity Catalog."""

from mlops.settings import Settings
from pipelines.unity_catalog import publish

given = dbutils.widgets.get  # noqa: F821 - Databricks' own, as in every notebook
print(publish(Settings.from_env(), registry=given("registry"), model=given("model")))
