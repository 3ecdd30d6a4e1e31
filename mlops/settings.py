"""Where things lie and which use case runs: read once from the environment, then passed on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from mlops.errors import ConfigError
from mlops.storage import is_remote, local_path

__all__ = ["Settings", "without_password"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The platform's settings; each is an environment variable `MLOPS_<NAME>`.

    `home` holds everything that a run writes. MLflow's database and artefact store lie in it unless
    `tracking_uri` names a server or another database. The online store lies in it, too, unless `store` names a Redis
    (`redis://…`, see `serving.stores`), which several servers can share.

    The tables that several machines read can lie at URIs of their own, such as `s3://bucket/events`: then the URI is
    the truth, and the home holds a copy (see `pipelines.staged`). A local path is the table's folder itself.

    `user` is who the record names when a model is registered, promoted, rejected or rolled back; unless it is set,
    the operating system's user is.

    `spark_master` is where Spark's workers run; `spark_conf` are more of Spark's own settings, as
    `spark.executor.memory=8g;spark.executor.instances=4`, and win over the platform's.
    """

    home: Path = Path("runs/main")
    usecase: str = "usecases.fraud"
    tracking_uri: str = ""
    spark_master: str = "local[*]"
    spark_memory: str = "2g"
    spark_conf: str = ""
    signing_key: str = ""
    store: str = ""
    events_uri: str = ""
    quarantine_uri: str = ""
    features_uri: str = ""
    user: str = ""

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None, **overrides: object) -> Settings:
        """Read `MLOPS_*`; `overrides` that are not None win.

        Raises:
            ConfigError: a value that does not fit.
        """
        env = os.environ if env is None else env
        values: dict[str, object] = {
            field: env[name] for field in cls.__struct_fields__ if (name := f"MLOPS_{field.upper()}") in env
        }
        values |= {key: value for key, value in overrides.items() if value is not None}
        for key, value in values.items():
            if isinstance(value, str) and not value and key in ("home", "usecase"):
                raise ConfigError("is empty", where=f"MLOPS_{key.upper()}")
        values["home"] = Path(str(values.get("home", cls().home))).expanduser().absolute()
        return cls(**values)  # type: ignore[arg-type]

    @property
    def events(self) -> Path:
        """The event table: Parquet, one row an accepted event."""
        return self._table("events", self.events_uri)

    @property
    def quarantine(self) -> Path:
        """Rows that failed validation, with the reason."""
        return self._table("quarantine", self.quarantine_uri)

    @property
    def validation(self) -> Path:
        """What the last validation found (JSON)."""
        return self.home / "validation.json"

    @property
    def stream(self) -> Path:
        """The checkpoint of each folder that is streamed, and which of its files were refused."""
        return self.home / "stream"

    @property
    def features(self) -> Path:
        """The feature table."""
        return self._table("features", self.features_uri)

    def _table(self, name: str, uri: str) -> Path:
        return self.home / name if is_remote(uri) or not uri else local_path(uri, base=Path.cwd())

    @property
    def bundles(self) -> Path:
        """Bundles as training writes them, before they are registered."""
        return self.home / "bundles"

    @property
    def pointer(self) -> Path:
        """The file that serving follows."""
        return self.home / "deployments" / "current.json"

    @property
    def store_uri(self) -> str:
        """The online store: a folder in the home, or what `store` names. It may hold a password."""
        return self.store or str(self.home / "store")

    @property
    def decisions(self) -> Path:
        """The decision log and the label log (JSON lines)."""
        return self.home / "decisions"

    @property
    def monitoring(self) -> Path:
        """What monitoring writes: reports, alerts, retrain requests."""
        return self.home / "monitoring"

    @property
    def keys(self) -> Path:
        """The folder with the key pair that signs and verifies bundles; `signing_key` names another."""
        return Path(self.signing_key).expanduser().absolute() if self.signing_key else self.home / "keys"

    @property
    def mlflow_uri(self) -> str:
        """MLflow's tracking and registry store."""
        return self.tracking_uri or f"sqlite:///{self.home}/mlflow.db"

    @property
    def artifacts(self) -> Path:
        """MLflow's artefact store when the store is the local database."""
        return self.home / "mlartifacts"


def without_password(uri: str) -> str:
    """A URI as it may be shown: without a password, and without its query, which may hold one."""
    parts = urlsplit(uri)
    if not parts.netloc:  # a file's, whose slashes would not all come back
        return uri.partition("?")[0]
    users, at, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=users.partition(":")[0] + at + host, query="").geturl()
