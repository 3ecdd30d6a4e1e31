# Databricks notebook source
"""One candidate, on this task's cluster; its run's plan lies in the home, and so does its result."""

from mlops.settings import Settings
from pipelines.databricks import train

given = dbutils.widgets.get  # noqa: F821 - Databricks' own, as in every notebook
train(Settings.from_env(), run=given("run"), candidate=given("candidate"))
