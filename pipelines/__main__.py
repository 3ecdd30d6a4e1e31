"""`python -m pipelines` is the `mlops` command, for what starts modules, as torchrun does."""

from __future__ import annotations

from pipelines.cli import main

if __name__ == "__main__":
    main()
