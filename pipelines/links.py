"""Files that two versions of a table share, where the file system can give one file two names."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

__all__ = ["link_or_copy"]


def link_or_copy(file: Path, target: Path) -> None:
    """Give a file a second name, or a copy under that name.

    File systems that have no hard links say so in many ways: FUSE with ENOSYS (so do Databricks' volumes and
    blobfuse), others with EPERM, EOPNOTSUPP, EMLINK or EIO. So whatever the link's error is, the copy's own counts.
    Modes, times and extended attributes are not copied: such file systems often have none of them either.

    Raises:
        FileExistsError: there is a file of that name. It is not written to, as it may be another one's second name.
        OSError: nor can it be copied.
    """
    try:
        os.link(file, target)
    except FileExistsError:
        raise
    except OSError:
        shutil.copyfile(file, target)
