r"""What infinite width by samples of neurons costs, beside networks of finite width that come as near to it.

For every case `recurse` answers with its default number of neurons. Its error is the larger of the standard error it states and
of its rms difference from a larger cloud, at four seeds, over the outputs after the first step. Networks of width n are off by
$b/n$ and scatter by $v/\sqrt{ns}$ over s seeds; both are measured at n = 64, what two widths leave at 32 and 64. The
cheapest n and s of the same error follow, from the time that a seed takes at each width, and likewise those of two widths n and
2n, whose $2f_{2n} - f_n$ has lost its $b/n$. Where it takes less than half a minute that many networks are trained, and what
comes out is marked "measured", with the error they had; otherwise the time is "extrapolated", beyond the widest trial like
$n^2$. Times are processor seconds of this process, with all its threads, so that what else the machine does counts little.

Run: python tests/benchmarks/bench_particles.py [--neurons N] [--first CASES] [--write FILE] [--quick]
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from limits import COMPLETEP, DEPTH_MUP, SGD, Adam, Problem, Record, ResNet, recurse, simulate
from limits.particles import sample

NONE = Record(kinds=())
BLOCKS, STEPS, SEEDS = 4, 3, 4
INPUTS, TARGETS = [[1.0, 0.4], [-0.5, 1.2], [0.8, -0.9]], [[1.0], [-0.6], [0.3]]
WIDTHS = [32 * 2**j for j in range(12)]
WIDEST = 1024
"""Of what is timed."""
AFFORDABLE = 30.0
HEADER = f"{'block':24s}{'optimizer':11s}{'error':>9s}{'recurse':>10s}{'networks':>25s}{'of two widths':>25s}"
UNITS = f"{'':24s}{'':11s}{'':>9s}{'seconds':>10s}{'times as long':>25s}{'times as long':>25s}"


@dataclass(frozen=True)
class Networks:
    """What networks of finite width do: b and v of outputs, what two widths leave, seconds of a seed by width."""

    bias: float
    scatter: float
    left: float
    seconds: dict[int, float]

    def cheapest(self, error: float) -> tuple[float, dict[int, int]]:
        """Seconds, and seeds by width."""
        found = []
        for n, each in self.seconds.items():
            free = error**2 - (self.bias / n) ** 2
            if free > 0:
                seeds = int(np.ceil(self.scatter**2 / n / free))
                found.append((seeds * each, {n: seeds}))
        return min(found, key=lambda one: one[0], default=(np.inf, {}))

    def cheapest_of_two(self, error: float) -> tuple[float, dict[int, int]]:
        """The same of widths n and 2n; what is left at order 1/n^2 is measured at the smallest."""
        found, smallest = [], min(self.seconds)
        for n in list(self.seconds)[:-1]:
            free = error**2 - (self.left * (smallest / n) ** 2) ** 2
            if free > 0:
                times, shares = np.array([self.seconds[n], self.seconds[2 * n]]), np.array([1, 2]) * self.scatter**2 / n
                seeds = np.ceil(np.sqrt(shares / times) * np.sqrt(shares * times).sum() / free).astype(int)
                found.append((float(seeds @ times), {n: int(seeds[0]), 2 * n: int(seeds[1])}))
        return min(found, key=lambda one: one[0], default=(np.inf, {}))


def cases() -> dict[tuple[str, str], Problem]:
    models = {
        "relu": (ResNet("relu"), DEPTH_MUP),
        "tanh": (ResNet("tanh"), DEPTH_MUP),
        "sin + cos": (ResNet("sin + cos"), DEPTH_MUP),
        "relu, two layers": (ResNet("relu", 2, form="mlp"), COMPLETEP),
        "tanh, two layers": (ResNet("tanh", 2, form="mlp"), COMPLETEP),
        "sin + cos, two layers": (ResNet("sin + cos", 2, form="mlp"), COMPLETEP),
    }
    optimizers = {"SGD": SGD(0.7, STEPS), "Adam": Adam(0.3, STEPS)}
    return {
        (name, kind): Problem(model, exponents, optimizer, INPUTS, TARGETS)
        for kind, optimizer in optimizers.items()
        for name, (model, exponents) in models.items()
    }


def timed(run):
    began = time.process_time()
    return run(), time.process_time() - began


def rms(values) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def better(problem: Problem, quick: bool):
    """Outputs of a larger cloud, and their error."""
    adam = isinstance(problem.optimizer, Adam)
    size = {"particles": 2**11 if adam else 2**15, "replicas": 8 if adam or quick else 16, "seed": 1000}
    answer = sample(problem, blocks=BLOCKS, record=NONE, **size)
    return answer.outputs[1:], answer.error[1:]


def of_recurse(problem: Problem, reference, neurons: int | None) -> tuple[float, float]:
    """Error and seconds."""
    value, own = reference
    runs = [timed(lambda s=s: recurse(problem, blocks=BLOCKS, particles=neurons, seed=s, record=NONE)) for s in range(SEEDS)]
    stated = rms([answer.error[1:] for answer, _ in runs])
    apart = np.mean([(answer.outputs[1:] - value) ** 2 for answer, _ in runs]) - rms(own) ** 2
    return max(stated, float(np.sqrt(max(0.0, apart)))), min(seconds for _, seconds in runs)


def of_networks(problem: Problem, reference, quick: bool) -> Networks:
    value, own = reference
    few, many = WIDTHS[0], WIDTHS[1]
    seeds = 600 if quick else 3000
    small, large = (simulate(problem, width=n, blocks=BLOCKS, seeds=seeds, record=NONE, seed=n) for n in (few, many))
    scatter = rms(large.samples[:, 1:].std(0, ddof=1)) * many**0.5
    bias = many * off(large.outputs[1:] - value, np.hypot(large.error[1:], own))
    both, error = 2 * large.outputs[1:] - small.outputs[1:], np.sqrt(4 * large.error[1:] ** 2 + small.error[1:] ** 2 + own**2)
    return Networks(bias, scatter, off(both - value, error), seconds_of_a_seed(problem))


def off(difference, error) -> float:
    """Rms of a difference without what its standard error accounts for."""
    return float(np.sqrt(max(0.0, np.mean(difference**2) - np.mean(error**2))))


def seconds_of_a_seed(problem: Problem) -> dict[int, float]:
    """By width; beyond the widest that is tried like the square of it."""
    found = {}
    for n in WIDTHS:
        seeds = max(1, 2**18 // n**2)
        if n <= WIDEST:
            runs = [timed(lambda n=n, s=seeds: simulate(problem, width=n, blocks=BLOCKS, seeds=s, record=NONE)) for _ in range(2)]
            found[n] = min(seconds for _, seconds in runs) / seeds
        else:
            found[n] = found[WIDEST] * (n / WIDEST) ** 2
    return found


def trained(problem: Problem, plan: dict[int, int], reference) -> tuple[float, float]:
    """Error and seconds of networks of these widths and seeds."""
    runs = [
        timed(lambda n=n, s=s: simulate(problem, width=n, blocks=BLOCKS, seeds=s, record=NONE, seed=7 + n))
        for n, s in plan.items()
    ]
    outputs = [run.outputs[1:] for run, _ in runs]
    found = outputs[0] if len(outputs) == 1 else 2 * outputs[1] - outputs[0]
    return off(found - reference[0], reference[1]), sum(seconds for _, seconds in runs)


def told(problem: Problem, predicted: tuple[float, dict[int, int]], own: float, reference) -> str:
    seconds, plan = predicted
    if not plan:
        return "none as near"
    if seconds > AFFORDABLE or max(plan) > WIDEST:
        return f"{seconds / own:.0f} extrapolated"
    error, seconds = trained(problem, plan, reference)
    return f"{seconds / own:.0f} measured ({error:.1e})"


def row(name: str, kind: str, problem: Problem, quick: bool, neurons: int | None) -> str:
    reference = better(problem, quick)
    error, own = of_recurse(problem, reference, neurons)
    networks = of_networks(problem, reference, quick)
    plain, two = (told(problem, plan, own, reference) for plan in (networks.cheapest(error), networks.cheapest_of_two(error)))
    return f"{name:24s}{kind:11s}{error:9.1e}{own:10.3f}{plain:>25s}{two:>25s}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", type=Path, help="where the table goes besides the screen")
    parser.add_argument("--quick", action="store_true", help="fewer networks, wider margins")
    parser.add_argument("--neurons", type=int, help="of each of the eight samples, for all cases; by default what recurse takes")
    parser.add_argument("--first", type=int, help="how many cases; by default all")
    given = parser.parse_args()
    neurons = "8192 neurons (Adam: 1024)" if given.neurons is None else f"{given.neurons} neurons"
    lines = [f"{BLOCKS} blocks, {STEPS} steps, three samples; eight times {neurons}; processor seconds", "", HEADER, UNITS]
    print("\n".join(lines), flush=True)
    for (name, kind), problem in list(cases().items())[: given.first]:
        lines.append(row(name, kind, problem, given.quick, given.neurons))
        print(lines[-1], flush=True)
    if given.write:
        given.write.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
