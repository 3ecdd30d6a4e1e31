"""Drift, performance with late labels, and the request to retrain."""
