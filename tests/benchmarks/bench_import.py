"""What `import limits` adds to numpy's own import: medians over fresh interpreters.

Every interpreter times its own imports, so that starting Python does not count; the two kinds take turns, so that both see
the same load of the machine. Run: python tests/benchmarks/bench_import.py [runs]
"""

import subprocess
import sys
from statistics import median, quantiles

RUNS = 15
NUMPY = "import numpy"
ONE = "limits.Problem(limits.ResNet(), limits.DEPTH_MUP, limits.SGD(1.0, 1), [[1.0]], [[1.0]])"
KINDS = {
    "import limits": "import limits",
    "all public names": "import limits; [getattr(limits, name) for name in limits.__all__]",
    "the first recurse": f"import limits; limits.recurse({ONE}, blocks=4)",
    "the first solve": f"import limits; limits.solve({ONE})",
}
BUDGET = 0.2
"""Seconds that the first of them may add."""


def seconds(code: str) -> float:
    """Time of the code in a fresh interpreter, without its start."""
    script = f"import time; began = time.perf_counter(); {code}; print(time.perf_counter() - began)"
    return float(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)


def largest_parts(code: str, count: int = 8) -> list[tuple[float, str]]:
    """Modules by their own seconds, from `python -X importtime`."""
    said = subprocess.run([sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True).stderr
    rows = [
        line.split(":", 1)[1].split("|") for line in said.splitlines() if line.startswith("import time:") and "self" not in line
    ]
    return sorted(((int(own) / 1e6, name.strip()) for own, _, name in rows), reverse=True)[:count]


def main(runs: int) -> None:
    alone: list[float] = []
    together: dict[str, list[float]] = {name: [] for name in KINDS}
    seconds(NUMPY), seconds(KINDS["import limits"])  # compiles what is not compiled yet
    for _ in range(runs):
        alone.append(seconds(NUMPY))
        for name, code in KINDS.items():
            together[name].append(seconds(f"{NUMPY}; {code}"))
    low, _, high = quantiles(alone, n=4)
    print(f"{NUMPY:18s} {median(alone):.3f} s   (quartiles {low:.3f} … {high:.3f}, {runs} interpreters)")
    for name, times in together.items():
        low, _, high = quantiles(times, n=4)
        print(
            f"{name:18s} {median(times):.3f} s   (quartiles {low:.3f} … {high:.3f}): adds {median(times) - median(alone):+.3f} s"
        )
    added = median(together["import limits"]) - median(alone)
    print(
        f"import limits adds {added:.3f} s to numpy's import; the budget is {BUDGET} s: {'met' if added < BUDGET else 'NOT met'}"
    )
    print("\nlargest parts of all public names, by python -X importtime:")
    for own, name in largest_parts(KINDS["all public names"]):
        print(f"  {own:.4f} s  {name}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else RUNS)
