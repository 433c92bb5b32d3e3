"""A folder of assets that the repository ships: appears whole, with the hashes of its files."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

CARD, MANIFEST = "CARD.md", "manifest.json"


def version_of(package: str) -> str | None:
    """None where it is not installed: frames that the codec makes need neither Piper nor Praat."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def begin(out: Path) -> Path:
    """An empty folder beside `out`, to be filled and given to `ship`."""
    fresh = out.with_name(out.name + ".partial")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    return fresh


def ship(fresh: Path, out: Path, packages: Iterable[str], max_bytes: int) -> Path:
    """Puts `fresh` in the place of `out`, whose card stays; returns the manifest's path.

    packages: whose versions the files depend on; null in the manifest where one is not installed. Raises
    ValueError when the files exceed `max_bytes`.
    """
    if (out / CARD).exists():
        shutil.copy2(out / CARD, fresh / CARD)
    files = sorted(p for p in fresh.rglob("*") if p.is_file() and p.name != CARD)
    total = sum(p.stat().st_size for p in files)
    if total > max_bytes:
        raise ValueError(f"the assets take {total} bytes, more than {max_bytes}: {fresh}")
    manifest = {
        "packages": {name: version_of(name) for name in packages},
        "bytes": total,
        "files": {
            str(p.relative_to(fresh)): {
                "bytes": p.stat().st_size,
                "sha256": hashlib.sha256(p.read_bytes()).hexdigest(),
            }
            for p in files
        },
    }
    (fresh / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    old = out.with_name(out.name + ".old")
    if out.exists():
        os.replace(out, old)
    os.replace(fresh, out)
    shutil.rmtree(old, ignore_errors=True)
    print(f"{len(files)} files, {total / 1e6:.1f} MB -> {out}")
    return out / MANIFEST
