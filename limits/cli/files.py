"""`--out` of the commands that write one file: as a folder does, it has the folders above it made, or is refused at once."""

import os
from collections.abc import Sequence
from pathlib import Path


def one_file(out: Path, kinds: Sequence[str]) -> Path:
    """The file of --out, whose folders are made if need be, before anything long is begun.

    Raises:
        ValueError: a name that ends in none of `kinds`, or a file that cannot be written.
    """
    if out.suffix.lower() not in kinds:
        raise ValueError(f"--out must end in {', '.join(kinds)}, got {str(out)!r}")
    fault = _fault(out)
    if fault:
        raise ValueError(f"--out must be a file that can be written, got {str(out)!r}: {fault}")
    return out


def _fault(out: Path) -> str | None:
    """Why a file cannot be written, in words; None if it can."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        return fault.strerror
    if out.is_dir():
        return "it is a folder"
    return None if os.access(out.parent, os.W_OK) else "permission denied"
