"""The `mlops` command: errors become one line and an exit code."""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence

import click

from mlops.errors import MlopsError, SetupError, UserError
from mlops.quiet import telemetry_off
from pipelines.command_line import cli
from pipelines.commands_bench import bench, doctor
from pipelines.commands_compare import compare
from pipelines.commands_data import export_source, features, simulate, validate
from pipelines.commands_ingest import ingest, stream
from pipelines.commands_keys import keys
from pipelines.commands_kubeflow import kubeflow
from pipelines.commands_logs import compact, erase
from pipelines.commands_model import score, train
from pipelines.commands_new import new_usecase
from pipelines.commands_prefect import prefect
from pipelines.commands_registry import copy_record, history, promote, reject, rollback
from pipelines.commands_serving import replay, serve
from pipelines.commands_start import demo, run
from pipelines.commands_store import store
from pipelines.commands_watch import monitor, report, retrain, status
from pipelines.interrupt import listen

__all__ = ["main"]

for command in (
    demo,
    new_usecase,
    run,
    simulate,
    export_source,
    validate,
    ingest,
    stream,
    features,
    train,
    compare,
    promote,
    reject,
    rollback,
    history,
    copy_record,
    score,
    serve,
    keys,
    replay,
    compact,
    erase,
    store,
):
    cli.add_command(command)
for command in (monitor, retrain, report, status, kubeflow, prefect, bench, doctor):
    cli.add_command(command)

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: 0 done, 1 failed, 2 the caller can mend it, 130 interrupted.

    It returns where all is done, and so the process ends with 0: whoever calls it in a process of theirs, as
    Databricks' tasks do, may take any SystemExit for a failure.
    """
    telemetry_off()
    listen()
    try:
        code = cli.main(args=argv, prog_name="mlops", standalone_mode=False)
    except click.exceptions.Exit as exit_:
        code = exit_.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        print("mlops: interrupted", file=sys.stderr)
        code = INTERRUPTED
    except MlopsError as error:
        code = _say(error)
    except OSError as error:
        if error.filename is None and error.errno != errno.ENOSPC:
            raise
        code = _say(_of_the_system(error))
    if isinstance(code, int) and code:
        sys.exit(code)


def _say(error: MlopsError) -> int:
    print(f"mlops: {error.line()}", file=sys.stderr)
    return error.exit_code


def _of_the_system(error: OSError) -> UserError:
    """A file that cannot be made, read or written, in the way the platform's own errors are told."""
    full = error.errno == errno.ENOSPC
    todo = "free some and run again" if full else "choose another place, or make this one usable"
    return SetupError((error.strerror or str(error)).lower(), where=error.filename, todo=todo)
