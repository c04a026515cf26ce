"""How much memory there is, and refusing what does not fit."""

import os

SHARE = 0.8
"""Largest share of the free memory that one computation may take."""


def available_memory() -> int:
    """Bytes of main memory that can still be had, as the system tells it.

    >>> available_memory() > 0
    True
    """
    try:
        with open("/proc/meminfo") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 8 * 2**30  # a system that tells nothing


def require(size: float, what: str, remedy: str, free: int | None = None) -> None:
    """Refuse a computation that needs more than its share of the free memory.

    Raises:
        MemoryError: with the size, what is free, and what to do.
    """
    free = available_memory() if free is None else free
    if size > SHARE * free:
        raise MemoryError(
            f"{what} would take {size / 1e9:.1f} GB, more than {SHARE:.0%} of the {free / 1e9:.1f} GB that are free: {remedy}"
        )
