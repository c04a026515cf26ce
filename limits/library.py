"""Which array library computes, where, and how much memory is there."""

import os
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from limits.memory import available_memory

Array = Any
BACKENDS = ("numpy", "torch")
DTYPES = ("float32", "float64", "bfloat16")
_NAMESPACES = {"numpy": "array_api_compat.numpy", "torch": "array_api_compat.torch", "array_api_strict": "array_api_strict"}


@dataclass(frozen=True)
class Library:
    """An array namespace, a device and a floating-point type; arrays enter by `put` and leave by `get` only."""

    backend: str
    xp: Any
    device: Any
    dtype: str
    products: str | None = None
    """A narrower type in which `product` multiplies; sums and everything else stay in `dtype`."""

    @property
    def on_cpu(self) -> bool:
        return self.device is None or self.device.type == "cpu"

    @property
    def itemsize(self) -> int:
        """Bytes of a number."""
        return np.dtype(self.dtype).itemsize

    def put(self, array: np.ndarray) -> Array:
        """The array on the device, in its own floating-point type; shares memory where it can."""
        array = np.asarray(array, self.dtype)
        if self.backend == "torch":
            array = self.xp.from_numpy(array if array.flags.writeable else array.copy())
        return self.xp.asarray(array, device=self.device) if self.device else self.xp.asarray(array)

    def whole(self, numbers: np.ndarray) -> Array:
        """Indices on the device."""
        return self.xp.asarray(numbers, device=self.device) if self.device else self.xp.asarray(numbers)

    def rows(self, array: Array, which: np.ndarray) -> Array:
        """Rows of an array, by number."""
        return self.xp.take(array, self.whole(which), axis=0)

    def product(self, left: Array, right: Array) -> Array:
        """The matrix product, with the axes before the last two broadcast."""
        if self.products is None:
            return left @ right
        narrow = getattr(self.xp, self.products)
        return (left.to(narrow) @ right.to(narrow)).to(getattr(self.xp, self.dtype))

    def times(self, rows: Array, matrices: Array, onto: Array = None) -> Array:
        """Rows (S, k, n) times matrices (S, n, m), added onto (S, k, m) if given.

        OpenBLAS copies all of a matrix before it multiplies more than one row: two or three go faster one by one.
        """
        if self.backend == "torch":
            return rows @ matrices if onto is None else self.xp.baddbmm(onto, rows, matrices)
        if self.backend == "numpy" and 2 <= rows.shape[1] <= 3:
            out = (rows[:, :, None, :] @ matrices[:, None, :, :])[:, :, 0, :]
        else:
            out = rows @ matrices
        if onto is not None:
            out += onto
        return out

    def add_product(self, matrices: Array, left: Array, right: Array) -> None:
        """Add left (S, n, k) times right (S, k, m) to matrices (S, n, m) in place."""
        if self.backend == "torch":
            matrices.baddbmm_(left, right)
        else:
            matrices += left @ right

    def root(self, array: Array, out: Array) -> Array:
        """The square root of every entry, in the place of `out` where the library can."""
        return self.xp.sqrt(array) if self.backend == "array_api_strict" else self.xp.sqrt(array, out=out)

    def quotient(self, array: Array, divisor: Array) -> Array:
        """The quotient of all entries, in the place of the divisor where the library can."""
        if self.backend == "array_api_strict":
            return array / divisor
        return self.xp.divide(array, divisor, out=divisor)

    def get(self, array: Array) -> np.ndarray:
        """The array in numpy, float64: the only way off the device."""
        return np.asarray(array.cpu() if self.backend == "torch" else array, float)

    def zeros(self, *shape: int) -> Array:
        return self.xp.zeros(shape, dtype=getattr(self.xp, self.dtype), device=self.device)

    def free_memory(self) -> int:
        """Bytes that are free, on the device and in main memory, where the weights are drawn."""
        if self.on_cpu or self.device.type != "cuda":
            return available_memory()
        return min(int(self.xp.cuda.mem_get_info(self.device)[0]), available_memory())


def open_library(backend: str, device: str | None, dtype: str) -> Library:
    """The library, or a sentence saying why it cannot be used.

    Raises:
        ValueError: unknown backend or dtype, a device that is not there.
        ImportError: PyTorch is not installed.
    """
    if backend not in _NAMESPACES:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    if dtype not in DTYPES:
        hint = ": its range would lose gradients; take bfloat16" if dtype == "float16" else ""
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}{hint}")
    if dtype == "bfloat16" and backend != "torch":
        raise ValueError(f"dtype 'bfloat16' needs backend='torch', got backend={backend!r}")
    if backend != "torch" and device not in (None, "cpu"):
        raise ValueError(f"backend {backend!r} computes on the CPU, got device {device!r}: use backend='torch' for it")
    try:
        xp = import_module(_NAMESPACES[backend])
    except ImportError as fault:
        advice = "pip install depth-limits[torch]"
        raise ImportError(f"backend {backend!r} needs a package that is missing ({fault}): {advice}") from fault
    held, products = ("float32", dtype) if dtype == "bfloat16" else (dtype, None)
    return Library(backend, xp, _torch_device(xp, device) if backend == "torch" else None, held, products)


def _torch_device(torch: Any, device: str | None) -> Any:
    try:
        found = torch.device(device or "cpu")
        torch.ones(1, device=found).cpu().numpy()  # "meta" holds no numbers
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as fault:
        reason = str(fault).splitlines()[0]
        raise ValueError(f"device must be one PyTorch can use here, got {device!r} ({reason}): use device='cpu'") from fault
    return found


def processors() -> int:
    """Processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
