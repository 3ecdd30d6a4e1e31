"""The work pool of a home. Its description names the home, so that no other takes its flows, or its events, over."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.workers.process import ProcessWorker

from mlops.errors import ConfigError, SetupError
from mlops.settings import Settings
from pipelines.flows import HOME, home_resource
from pipelines.prefect_server import named_server, prepare

__all__ = ["claim", "connected", "expect_own", "owner_of"]

_LOOK_S = 5


@contextmanager
def connected(settings: Settings) -> Iterator[SyncPrefectClient]:
    """A client of the server that PREFECT_API_URL names.

    Raises:
        ConfigError: it names none.
        SetupError: the server does not answer, or refuses.
    """
    url = named_server()
    prepare(settings.home / "prefect", os.environ)
    with get_client(sync_client=True) as client:
        if (problem := client.api_healthcheck()) is not None:
            raise SetupError(
                "Prefect does not answer", where=url, todo="start it, or name another"
            ) from problem
        try:
            yield client
        except httpx.HTTPError as error:
            said = str(error).partition("\n")[0]
            raise SetupError(f"Prefect does not do as it is asked: {said}", where=url) from error


def claim(client: SyncPrefectClient, settings: Settings, pool: str) -> None:
    """Make the pool, or have the one of this name be this home's: one run at a time, as one writes a home.

    Raises:
        ConfigError: it is another home's, or this home has another one.
    """
    mine = home_resource(settings)
    _refuse_a_second(client, settings, pool)
    try:
        client.create_work_pool(
            WorkPoolCreate(
                name=pool,
                type="process",
                description=mine,
                base_job_template=ProcessWorker.get_default_base_job_template(),
                concurrency_limit=1,
            )
        )
    except ObjectAlreadyExists:
        said = client.read_work_pool(pool).description or ""
        if owner_of(said) is None:
            said = f"{said}\n{mine}".strip()
        _refuse_another_s(said, settings, pool)
        client.update_work_pool(pool, WorkPoolUpdate(concurrency_limit=1, description=said))


def expect_own(client: SyncPrefectClient, settings: Settings, pool: str, *, wait: bool = False) -> None:
    """See that the pool is there, and this home's; or wait until it is there.

    Raises:
        ConfigError: there is none, or it is another home's.
    """
    told = False
    while owner_of(said := _description(client, pool)) is None:
        if not wait:
            raise ConfigError(
                "no home has such a pool",
                where=f"pool {pool}",
                todo="make it first: mlops prefect deploy --events …",
            )
        if not told:
            print(f"mlops: waits until `mlops prefect deploy` has made the pool {pool}", file=sys.stderr)
            told = True
        time.sleep(_LOOK_S)
    _refuse_another_s(said, settings, pool)


def owner_of(description: str) -> str | None:
    """What events call the home that a pool's description names, on a line of its own; None where it names none."""
    return next((line for line in description.splitlines() if line.startswith(HOME)), None)


def _description(client: SyncPrefectClient, pool: str) -> str:
    try:
        return client.read_work_pool(pool).description or ""
    except ObjectNotFound:
        return ""


def _refuse_a_second(client: SyncPrefectClient, settings: Settings, pool: str) -> None:
    """Two pools would run the flows of one home twice by the clock, and twice for each event."""
    mine, offset = home_resource(settings), 0
    while some := client.read_work_pools(offset=offset):
        for other in some:
            if other.name != pool and owner_of(other.description or "") == mine:
                raise ConfigError(
                    f"has the pool {other.name} already",
                    where=f"home {settings.home}",
                    todo=f"deploy with --pool {other.name}, or remove that one first (docs/prefect.md)",
                )
        offset += len(some)


def _refuse_another_s(description: str, settings: Settings, pool: str) -> None:
    owner = owner_of(description)
    if owner is not None and owner != home_resource(settings):
        raise ConfigError(
            f"is of the home {owner.removeprefix(HOME)}, and not of {settings.home}",
            where=f"pool {pool}",
            todo="name another with --pool",
        )
