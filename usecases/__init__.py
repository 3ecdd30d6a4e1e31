"""One folder per use case; the only place that a fork edits."""
