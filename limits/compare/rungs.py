"""Compare the rungs: errors from finite to wide and from wide to deep, with their measured rates."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from limits.compare.rates import CONFIDENCE, PowerLaw, extrapolate, fit_power_law
from limits.deep import NoLimitError, UnknownLimitError, UnresolvedError, sampled, solve
from limits.finite import simulate
from limits.markup import columns, listed
from limits.particles import neurons_of
from limits.problem import Problem
from limits.record import Record
from limits.training import DivergedError
from limits.trajectory import Interrupted, Trajectory
from limits.validation import expect, reporting, whole
from limits.wide import closed, recurse

Progress = Callable[[int, int], None]
STANDS_OUT = 2.0
"""Times its Monte-Carlo error that a distance must be for a rate to be fitted to it."""
SHOWN = 4
"""Sizes that are shown one by one."""
ASYMPTOTIC = 0.2
"""Distance of the last measured slope from -1 at which more blocks are advised."""


@dataclass(frozen=True, eq=False)
class Ladder:
    """All rungs of one problem and the rates between them; printing it prints the table.

    Attributes:
        problem: what was trained.
        deep: the limit; None when there is none (`no_limit` says why), it failed or was not reached.
        wide: infinite width, by number of blocks.
        finite: real networks of `finite_blocks` blocks, by width.
        finite_blocks: L of the real networks.
        no_limit: why the exponents have no limit, or why it is not known, or None.
        failed: sentences of the runs that diverged or could not be resolved, by name such as "wide, L = 256".
        partial: whether the comparison was interrupted.

    >>> from limits import DEPTH_MUP, SGD, ResNet
    >>> one = Problem(ResNet(), DEPTH_MUP, SGD(0.5, steps=1), [[1.0]], [[1.0]])
    >>> answer = ladder(one, widths=(8, 16), blocks=(4, 8, 16), finite_blocks=4, seeds=4)
    >>> {L: round(error, 4) for L, error in answer.depth_errors().items()}
    {4: 0.2705, 8: 0.1547, 16: 0.0833}
    >>> answer.deep, answer.no_limit
    (Trajectory(deep, 1 steps, loss 0.5 -> 0.0644911), None)
    """

    problem: Problem
    deep: Trajectory | None
    wide: Mapping[int, Trajectory]
    finite: Mapping[int, Trajectory]
    finite_blocks: int
    no_limit: str | None = None
    failed: Mapping[str, str] = field(default_factory=dict)
    partial: bool = False

    def depth_errors(self) -> dict[int, float]:
        """Root mean square over steps, samples and outputs of wide minus deep, by number of blocks.

        Where they are means over samples of neurons, less what their Monte-Carlo errors add to it; 0 if those explain it all.
        """
        if self.deep is None:
            return {}
        noise = self.depth_noise()
        return {L: _beyond(_rms(run.outputs - self.deep.outputs), noise[L]) for L, run in sorted(self.wide.items())}

    def depth_noise(self) -> dict[int, float]:
        """Root mean square Monte-Carlo error of wide minus deep, by number of blocks: 0 where both are exact.

        Errors of the entries of one sample of neurons go together, so that this is a bound on that of `depth_errors` too.
        """
        if self.deep is None:
            return {}
        deep = _rms(self.deep.error) if sampled(self.problem) else 0.0
        return {L: float(np.hypot(_rms(run.error), deep)) for L, run in sorted(self.wide.items())}

    def within_noise(self) -> list[int]:
        """Numbers of blocks whose distance from infinite depth does not stand out of its Monte-Carlo error."""
        errors, noise = self.depth_errors(), self.depth_noise()
        return [L for L, error in errors.items() if noise[L] > 0 and error <= STANDS_OUT * noise[L]]

    def depth_law(self) -> PowerLaw | None:
        """Rate of the approach to infinite depth: the fit over the largest half of the sizes (at least three).

        Of means over samples of neurons, only sizes that stand out of their Monte-Carlo error, which weighs them.
        """
        errors, noise, hidden = self.depth_errors(), self.depth_noise(), self.within_noise()
        there = [L for L in errors if L not in hidden]
        kept = there[-max(3, (len(there) + 1) // 2) :]
        if len(kept) < 2 or min(errors[L] for L in there) == 0:
            return None
        return fit_power_law(kept, [errors[L] for L in kept], [noise[L] for L in kept])

    def width_errors(self) -> dict[int, tuple[float, float]]:
        """Root mean square over seeds too of finite minus wide, with its standard error, by width."""
        target = self.wide.get(self.finite_blocks)
        if target is None:
            return {}
        return {n: _seed_error(run, target) for n, run in sorted(self.finite.items())}

    def width_law(self) -> PowerLaw | None:
        """Rate of the approach to infinite width, with its 95 % confidence interval over seeds."""
        errors = self.width_errors()
        if len(errors) < 2 or min(e for e, _ in errors.values()) == 0:
            return None
        law = fit_power_law(list(errors), [e for e, _ in errors.values()], [s for _, s in errors.values()])
        if np.any(law.spread == 0):
            return law
        from scipy.special import stdtrit

        freedom = sum(int(np.sum(run.diverged < 0)) - 1 for run in self.finite.values())  # of the standard errors together
        return replace(law, exponent_error=law.exponent_error * float(stdtrit(freedom, 0.975)) / CONFIDENCE)

    @property
    def depth_order(self) -> float | None:
        """The expected exponent of `depth_law`: -1 where errors go in powers of 1/L, else None."""
        return -1.0 if _in_powers_of_depth(self.problem) else None

    def extrapolation_error(self) -> float | None:
        """Largest distance of the limit from the Richardson extrapolation of the wide rungs; where errors go in powers of 1/L.

        None where they are means over samples of neurons, whose errors an extrapolation multiplies.
        """
        if self.deep is None or len(self.wide) < 2 or self.depth_order is None or any(self.depth_noise().values()):
            return None
        sizes = sorted(self.wide)
        return float(np.abs(extrapolate(sizes, [self.wide[L].outputs for L in sizes]) - self.deep.outputs).max())

    def __repr__(self) -> str:
        rungs = []
        if self.finite:
            law = self.width_law()
            rate = f", error ~ n^{law.exponent:.2f}" if law else ""
            rungs.append(f"finite: n = {_either(self.finite)} at L = {self.finite_blocks}{rate}")
        if self.wide:
            law = self.depth_law()
            rungs.append(f"wide: L = {_either(self.wide)}{f', error ~ L^{law.exponent:.2f}' if law else ''}")
        rungs.append("no deep limit" if self.deep is None else f"deep: loss {self.deep.losses[-1]:.4g}")
        failed = [f"{len(self.failed)} failed"] if self.failed else []
        return listed("Ladder", [*rungs, *failed, *["partial"] * self.partial], mark=";")

    def __str__(self) -> str:
        return self.table()

    def table(self) -> str:
        """Sizes, errors, rates and final losses, as text."""
        rows = [("rung", "blocks", "width", "error", "against", "final loss", "seconds")]
        width_errors, depth_errors, noise = self.width_errors(), self.depth_errors(), self.depth_noise()
        for n, run in sorted(self.finite.items()):
            error, spread = width_errors.get(n, (None, 0.0))
            text = "" if error is None else f"{error:.2e}" + (f" ± {spread:.0e}" if spread else "")
            rows.append(("finite", str(self.finite_blocks), str(n), text, "wide" if text else "", *_end(run)))
        for L, run in sorted(self.wide.items()):
            error = f"{depth_errors[L]:.2e}" + (f" ± {noise[L]:.0e}" if noise[L] else "") if L in depth_errors else ""
            rows.append(("wide", str(L), "∞", error, "deep" if error else "", *_end(run)))
        if self.deep is not None:
            how = "Monte Carlo" if sampled(self.problem) else "numerical"
            rows.append(("deep", "∞", "∞", f"{_worst(self.deep):.0e}", how, *_end(self.deep)))
        return "\n".join([columns(rows), "", *self._rates()])

    def _rates(self) -> list[str]:
        lines = []
        if law := self.width_law():
            interval = (f" ± {law.exponent_error:.3f}", " (95 %, over seeds)") if np.all(law.spread > 0) else ("", "")
            lines.append(f"finite -> wide: error ~ n^({law.exponent:.3f}{interval[0]}){interval[1]}; expected n^(-1/2)")
        if law := self.depth_law():
            local, powers = law.local_exponents(), self.depth_order is not None
            by_doubling, exact = ", ".join(f"{e:.3f}" for e in local), not np.any(law.spread)
            interval = "" if exact else f" ± {law.exponent_error:.3f}"
            lines.append(
                f"wide -> deep:   error ~ L^({law.exponent:.3f}{interval}), by doubling {by_doubling}"
                f"{'; expected L^(-1)' * powers}"
            )
            if exact and powers and abs(local[-1] + 1) > ASYMPTOTIC:
                lines.append(f"                L = {law.sizes[-1]:.0f} is not yet deep enough for that rate: take more blocks")
        if hidden := self.within_noise():
            sizes = ", ".join(map(str, hidden))
            lines.append(f"                L = {sizes}: within the Monte-Carlo error, in no rate; take more particles")
        if (far := self.extrapolation_error()) is not None:
            lines.append(f"wide extrapolated to L = ∞ (Richardson) differs from deep by {far:.1e}")
        if self.no_limit:
            lines.append(f"no deep limit: {self.no_limit}")
        lines += [f"{name}: {sentence}" for name, sentence in self.failed.items()]
        if self.partial:
            lines.append("partial: the comparison was interrupted")
        return lines

    def to_json(self) -> dict[str, Any]:
        """Everything in the table and the loss curves, as plain values."""
        return {
            "partial": self.partial,
            "no_limit": self.no_limit,
            "failed": dict(self.failed),
            "finite_blocks": self.finite_blocks,
            "width_errors": {str(n): {"error": e, "standard_error": s or None} for n, (e, s) in self.width_errors().items()},
            "width_law": _law_json(self.width_law()),
            "depth_errors": {str(L): e for L, e in self.depth_errors().items()},
            "depth_noise": {str(L): e or None for L, e in self.depth_noise().items()},
            "within_noise": self.within_noise(),
            "depth_law": _law_json(self.depth_law()),
            "extrapolation_error": self.extrapolation_error(),
            "deep": None if self.deep is None else _run_json(self.deep),
            "wide": {str(L): _run_json(run) for L, run in sorted(self.wide.items())},
            "finite": {str(n): _run_json(run) for n, run in sorted(self.finite.items())},
        }


def _either(sizes: Iterable[int]) -> str:
    """Sizes in words.

    >>> _either([8, 4]), _either([4, 8, 16, 32, 64, 128, 256])
    ('4, 8', '4 … 256 (7)')
    """
    known = sorted(sizes)
    return f"{known[0]} … {known[-1]} ({len(known)})" if len(known) > SHOWN else ", ".join(map(str, known))


def ladder(
    problem: Problem,
    *,
    widths: Sequence[int] = (64, 128, 256, 512),
    blocks: Sequence[int] = (8, 16, 32, 64, 128, 256),
    finite_blocks: int = 16,
    seeds: int = 64,
    seed: int = 0,
    particles: int | None = None,
    tol: float | None = None,
    record: Record | None = None,
    backend: str = "numpy",
    device: str | None = None,
    dtype: str = "float32",
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Ladder:
    """Answer one problem on all three rungs and measure how fast each approaches the next.

    A run that diverges leaves the others standing: its sentence is in `Ladder.failed`.

    Finite networks of every width and `finite_blocks` blocks are compared with infinite width at the same number of
    blocks (error O(n^(-1/2)) per seed); infinite width at every number of blocks with infinite depth (error O(1/L)). What has
    no closed recursion is computed on samples of neurons: their Monte-Carlo errors are subtracted from the distances, and
    distances that do not stand out of them enter no rate.

    Args:
        problem: what to train.
        widths: of the real networks.
        blocks: numbers of blocks at infinite width.
        finite_blocks: blocks of the real networks; computed at infinite width too.
        seeds, seed, backend, device, dtype: as in `simulate`; `seed` also of samples of neurons.
        particles: as in `recurse`, whose answers are exact for linear blocks of one layer under SGD unless it is given.
        tol: of the limit; 1e-10 by default, or where it is a mean over samples of neurons the default of `solve`.
        record: kernels to keep on every rung; by default the feature kernel of a few samples at 33 depths for the limit only.
        executor: any `concurrent.futures.Executor` (a process pool, dask's `Client.get_executor()`): the runs are
            independent and go through it; in this process by default.
        progress: called as progress(done, total) after every run.

    Raises:
        Interrupted: on Ctrl-C, with a partial `Ladder` of the finished runs; a plain KeyboardInterrupt if there are none.
        DivergedError: no run at all stayed in the range of numbers.
        ValueError: sizes that are no whole numbers, or fewer particles than `recurse` needs.

    >>> from limits import DEPTH_MUP, ResNet, SGD
    >>> one = Problem(ResNet(), DEPTH_MUP, SGD(0.5, steps=2), [[1.0]], [[1.0]])
    >>> answer = ladder(one, widths=(32, 64), blocks=(64, 128, 256), finite_blocks=4, seeds=20)
    >>> round(answer.depth_law().exponent, 1)
    -1.0
    >>> sorted(answer.finite), sorted(answer.wide)
    ([32, 64], [4, 64, 128, 256])
    """
    sizes = sorted({*_sizes(blocks, "blocks"), whole(finite_blocks, "finite_blocks")})
    none = Record(kinds=())
    finite = {"blocks": finite_blocks, "seeds": seeds, "seed": seed, "backend": backend, "device": device, "dtype": dtype}
    tol = 1e-10 if tol is None and not sampled(problem) else tol
    runs: dict[tuple[str, int], dict[str, Any]] = {("deep", 0): {"tol": tol, "record": record or _profile(problem)}}
    wide: dict[str, Any] = {"particles": particles, "seed": seed, "record": record or none}
    if particles is not None or not closed(problem):
        neurons_of(problem, particles)  # refuses too few before anything runs
        wide |= {"backend": backend, "device": device}
    runs |= {("wide", L): {"blocks": L, **wide} for L in sizes}
    for n in _sizes(widths, "widths"):
        runs["finite", n] = {"width": n, "record": record or none, **finite}
    done: dict[tuple[str, int], Trajectory | Unanswered] = {}
    report = reporting(progress)
    if executor is not None:
        expect(executor, Executor, "executor")
    try:
        for key, result in _results(problem, runs, executor):
            done[key] = result
            report(len(done), len(runs))
    except KeyboardInterrupt as stop:
        if not done:
            raise KeyboardInterrupt from stop
        raise Interrupted(_gathered(problem, finite_blocks, done, True)) from stop
    unanswered = [result for result in done.values() if isinstance(result, Unanswered)]
    if len(unanswered) == len(done) and (worst := [u for u in unanswered if not u.no_limit]):
        said = next((u for u in worst if issubclass(u.kind, DivergedError)), worst[0])
        raise said.kind(said.sentence)
    return _gathered(problem, finite_blocks, done, False)


def _gathered(problem: Problem, blocks: int, done: Mapping[tuple[str, int], Any], partial: bool) -> Ladder:
    """The rungs out of their answers, in order of size."""
    found = {key: result for key, result in sorted(done.items()) if isinstance(result, Trajectory)}
    wide, finite = ({size: run for (rung, size), run in found.items() if rung == kind} for kind in ("wide", "finite"))
    names = {"deep": "deep", "wide": "wide, L = {}", "finite": "finite, n = {}"}
    unanswered = {names[rung].format(size): why for (rung, size), why in sorted(done.items()) if isinstance(why, Unanswered)}
    no_limit = next((why.sentence for why in unanswered.values() if why.no_limit), None)
    failed = {name: why.sentence for name, why in unanswered.items() if not why.no_limit}
    return Ladder(problem, found.get(("deep", 0)), wide, finite, blocks, no_limit, failed, partial)


@dataclass(frozen=True)
class Unanswered:
    """A run that has no answer, and why; unlike the exception itself it travels between processes.

    >>> [Unanswered(kind, "why").no_limit for kind in (NoLimitError, UnknownLimitError, DivergedError, MemoryError)]
    [True, True, False, False]
    """

    kind: type[Exception]
    sentence: str

    @property
    def no_limit(self) -> bool:
        """Whether there is no limit, or none that is known, rather than the run failing."""
        return issubclass(self.kind, NoLimitError | UnknownLimitError)


def _profile(problem: Problem) -> Record:
    """The feature kernel of the first few samples along the depth, at about a dozen steps."""
    steps = np.unique(np.linspace(0, problem.steps, 13).astype(int))
    samples = range(min(3, len(problem.evaluated)))
    return Record(positions=np.linspace(0, 1, 33).tolist(), steps=steps.tolist(), samples=samples)


def _answer(problem: Problem, rung: str, options: Mapping[str, Any]) -> Trajectory | Unanswered:
    """One run; a limit that does not exist is an answer too, and so are divergence and too little memory."""
    try:
        return {"deep": solve, "wide": recurse, "finite": simulate}[rung](problem, **options)
    except (NoLimitError, UnknownLimitError, DivergedError, UnresolvedError, MemoryError) as why:
        return Unanswered(type(why), str(why))


def _results(problem: Problem, runs: Mapping[tuple[str, int], dict[str, Any]], executor: Executor | None):
    """Answers as they are ready, here or through the executor."""
    if executor is None:
        for key, options in runs.items():
            yield key, _answer(problem, key[0], options)
        return
    waiting: dict[Future, tuple[str, int]] = {executor.submit(_answer, problem, k[0], o): k for k, o in runs.items()}
    try:
        while waiting:
            ready, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in ready:
                yield waiting.pop(future), future.result()
    finally:
        for future in waiting:
            future.cancel()


def _sizes(values: object, name: str) -> list[int]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be several whole numbers, got {values!r}: write {name}=[{values}]")
    return sorted({whole(value, name.removesuffix("s") if name == "widths" else name) for value in values})


def _beyond(error: float, noise: float) -> float:
    """What is left of a root mean square without that of the noise in it."""
    return max(0.0, error**2 - noise**2) ** 0.5 if noise else error


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _worst(run: Trajectory) -> float:
    return float(np.max(run.error))


def _end(run: Trajectory) -> tuple[str, str]:
    last = run.losses[-1]
    return f"{last:.6f}" if last < 1e4 else f"{last:.1e}", f"{run.meta.get('seconds', float('nan')):.2f}"


def _seed_error(run: Trajectory, target: Trajectory) -> tuple[float, float]:
    """Root mean square distance of the seeds from the target, and its standard error over seeds: 0 of one, as it is unknown."""
    if run.samples is None:
        return _rms(run.outputs - target.outputs), 0.0
    kept = run.samples[run.diverged < 0]
    squares, noise = np.mean((kept - target.outputs) ** 2, axis=(1, 2, 3)), _rms(target.error)
    error = _beyond(float(np.sqrt(squares.mean())), noise)
    if len(squares) == 1 or not error:
        return error, 0.0
    return error, float(np.hypot(squares.std(ddof=1) / np.sqrt(len(squares)) / (2 * error), noise))


def _in_powers_of_depth(problem: Problem) -> bool:
    """Whether finite-depth corrections are powers of 1/L: at alpha = 1/2 and alpha = 1 on the line alpha + gamma = 1.

    Kinked nonlinearities have logarithms beside them at alpha = 1/2.
    """
    alpha, gammas, betas = problem.parametrization.layers(problem.model.block_depth)
    on_line = not any(betas) and alpha + min(gammas) == 1 and all((alpha + gamma).denominator == 1 for gamma in gammas)
    return on_line and (alpha == 1 or (alpha == 0.5 and not problem.model.phi.kinks))


def _law_json(law: PowerLaw | None) -> dict[str, float | None] | None:
    if law is None:
        return None
    return {"exponent": law.exponent, "exponent_95": _finite(law.exponent_error), "prefactor": law.prefactor}


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _run_json(run: Trajectory) -> dict[str, Any]:
    accuracy = {} if run.accuracy is None else {"accuracy": run.accuracy.tolist()}
    return {"losses": run.losses.tolist(), "largest_error": _finite(_worst(run)), **accuracy, "meta": dict(run.meta)}
