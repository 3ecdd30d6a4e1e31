"""MLflow's model registry, and the file that serving follows.

    register ─▶ candidate ─ admitted ─▶ challenger ─ promote ─▶ champion ─ replaced, rolled back ─▶ archived
                    │  ▲                    │                      ▲                                  ▲ │
                    │  └─ withdrawn ────────┤                      └───────────── roll back ──────────│─┘
                    └─ refused, rejected ───┴─────────────────────────────────────────────────────────┘

The aliases `champion` and `challenger` and the tag `stage` say where a version stands, its tags `transition.<n>` who
brought it there, when and why (see `training.registry.record`). The alias `champion` says which version should answer,
`deployments/current.json` which one does: promotion copies the bundle to where serving reads it, moves the alias, and
writes the file last. Where it was interrupted in between, promoting again repairs it. One at a time changes anything
(see `training.registry.lock`).
"""

from training.registry.candidates import register, reject, withdraw_challenger
from training.registry.champion import must_be_promotable, promote, rollback
from training.registry.entries import bundle_of, feature_names
from training.registry.record import Stage, Transition
from training.registry.standing import Status, history, status

__all__ = [
    "Stage",
    "Status",
    "Transition",
    "bundle_of",
    "feature_names",
    "history",
    "must_be_promotable",
    "promote",
    "register",
    "reject",
    "rollback",
    "status",
    "withdraw_challenger",
]
