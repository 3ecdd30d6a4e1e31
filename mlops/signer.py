"""OpenSSF's model-signing library, which signs what training made: with our own key, without any of its services.

Imported where a bundle is written and nowhere else: it brings 32 packages and takes a quarter of a second.
"""

from __future__ import annotations

from pathlib import Path

from model_signing.hashing import Config as Hashing
from model_signing.signing import Config as Signing

from mlops.signature import SIGNATURE
from mlops.signing import PRIVATE_KEY, load_private_key

__all__ = ["sign"]


def sign(folder: Path, keys: Path) -> None:
    """Sign every file in `folder` with the private key in `keys`, into `model.sig`. The model is called as the folder.

    Raises:
        ConfigError: there is no private key, or it cannot be read, or it is of another kind.
    """
    load_private_key(keys)  # refuses in our words
    hashing, signing = Hashing(), Signing()  # type: ignore[no-untyped-call]
    every_file = hashing.set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)
    signing.use_elliptic_key_signer(private_key=keys / PRIVATE_KEY)
    signing.set_hashing_config(every_file).sign(folder, folder / SIGNATURE)
