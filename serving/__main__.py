"""`python -m serving`: a server that answers until it is told to stop. This process listens; its workers answer."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mlops.errors import ConfigError, MlopsError
from serving.logs import set_up
from serving.options import options_of
from serving.supervisor import Supervisor, allow_connections, listen

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve; return the exit code: 0 after SIGTERM, 130 after Ctrl-C, 2 if it could not start."""
    try:
        options = options_of(arguments)
        set_up(options.log_format)
        if not options.public_key.is_file():
            raise ConfigError("no such key", where=options.public_key, todo="bundles are signed for a key")
        if options.keys is not None and not options.keys.is_file():
            raise ConfigError("no such file", where=options.keys, todo="make a key with `mlops keys create`")
        allow_connections()
        return Supervisor(options, listen(options.host, options.port)).run()
    except MlopsError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:  # before anything answered
        return 130


if __name__ == "__main__":
    sys.exit(main())
