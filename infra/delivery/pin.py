"""Writes a kustomization that is an overlay with its images named by digest; it needs no package.

It is called as python3 infra/delivery/pin.py OVERLAY OUT FILE…, and each FILE holds one reference, such as
ghcr.io/owner/mlops-serving@sha256:….
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["main", "pinned"]

REFERENCE = re.compile(r"(?P<name>[a-z0-9][a-z0-9._/:-]*)@(?P<digest>sha256:[0-9a-f]{64})")


def pinned(overlay: Path, out: Path, references: Sequence[str]) -> dict[str, object]:
    """The kustomization: `overlay` as seen from the folder `out`, and each of its images by digest.

    Raises:
        SystemExit: there is no such overlay, a reference is not by digest, or an image of the overlay has none.
    """
    digests: dict[str, tuple[str, str]] = {}
    for text in references:
        found = REFERENCE.fullmatch(text)
        if found is None:
            sys.exit(f"pin: not a reference by digest: {text!r}")
        digests[found["name"].rpartition("/")[2]] = (found["name"], found["digest"])
    # What the overlay calls its images, in the one layout that files of ours have.
    try:
        text = (overlay / "kustomization.yaml").read_text()
    except OSError as error:
        sys.exit(f"pin: OVERLAY is no folder of a kustomization: {error}")
    renamed = re.findall(r"^  - name: (\S+)\n    newName: (\S+)", text, re.MULTILINE)
    if not renamed or (missing := sorted({name for name, _ in renamed} - digests.keys())):
        sys.exit(f"pin: {overlay}: no reference for {', '.join(missing) if renamed else 'any image'}")
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(overlay.resolve(), out.resolve())],
        "images": [
            {"name": called, "newName": digests[name][0], "digest": digests[name][1]}
            for name, called in renamed
        ],
    }


def main(arguments: Sequence[str]) -> None:
    """Write OUT/kustomization.yaml; JSON is YAML."""
    if len(arguments) < 3:
        sys.exit("usage: pin.py OVERLAY OUT FILE…")
    overlay, out = (Path(word) for word in arguments[:2])
    references = [Path(word).read_text().strip() for word in arguments[2:]]
    document = pinned(overlay, out, references)
    out.mkdir(parents=True, exist_ok=True)
    (out / "kustomization.yaml").write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
