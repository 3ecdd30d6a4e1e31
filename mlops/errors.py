"""Every error that the platform raises on purpose.

    * MlopsError              exit code 1
      + UserError             exit code 2: the caller can mend it
        - InputError          a file, a row or a request that does not fit the schema
          . ConflictError     an event that contradicts what is known under its id
          . ExpectationError  a delivery of events that is not as the schema expects it as a whole
        - ConfigError         a setting, a policy or a use case that does not make sense
        - SetupError          something this machine lacks: Java, disk, a free port
      + BundleError           a bundle that must not be served
        - IntegrityError      a digest or the signature is wrong
      + ParityError           two executors of one definition disagree

Each names what was wrong, where, and what to do about it.
"""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "BundleError",
    "ConfigError",
    "ConflictError",
    "ExpectationError",
    "InputError",
    "IntegrityError",
    "MlopsError",
    "ParityError",
    "SetupError",
    "UserError",
]


class MlopsError(Exception):
    """Base of the tree.

    Args:
        what: what was wrong, one sentence without a full stop.
        where: the file, row, field or setting, if there is one.
        todo: what the reader can do about it.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: object = None, todo: str = "") -> None:
        self.what = what
        self.where = None if where is None else str(where)
        self.todo = todo
        super().__init__(self.line())

    def line(self) -> str:
        """The error in one line: `where: what; todo`."""
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}; {self.todo}" if self.todo else head


class UserError(MlopsError):
    """The caller can mend it."""

    exit_code = 2


class InputError(UserError):
    """A file, a row or a request does not fit the schema."""


class ConflictError(InputError):
    """An event contradicts what is known under its id."""


class ExpectationError(InputError):
    """A delivery of events is not as the schema expects it as a whole. `report` is the file that says how."""

    def __init__(
        self, what: str, *, where: object = None, todo: str = "", report: Path | None = None
    ) -> None:
        super().__init__(what, where=where, todo=todo)
        self.report = report


class ConfigError(UserError):
    """A setting, a policy or a use case does not make sense."""


class SetupError(UserError):
    """This machine lacks something that the step needs."""


class BundleError(MlopsError):
    """A bundle must not be served."""


class IntegrityError(BundleError):
    """A digest or the signature of a bundle is wrong."""


class ParityError(MlopsError):
    """Two executors of one definition disagree."""
