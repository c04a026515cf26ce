"""`solve`: which limit a problem has, and what it is."""

import time
import warnings
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from numbers import Real
from typing import Any

import numpy as np

import limits
from limits.deep.extrapolated import extrapolated
from limits.deep.flow import flow_level
from limits.deep.gaussian import linear_level
from limits.deep.nonlinear import nonlinear_footprint, nonlinear_level
from limits.deep.nonlinear_flow import nonlinear_flow_level
from limits.deep.one_layer import one_layer_footprint, one_layer_limit
from limits.deep.pre_flow import pre_flow_footprint, pre_flow_limit
from limits.deep.refine import Refined, Refinement, UnconvergedError, first_panels
from limits.deep.two_layer import two_layer_footprint, two_layer_limit
from limits.deep.two_layer_post import two_layer_post_footprint, two_layer_post_limit
from limits.directions import trained_directions
from limits.memory import SHARE, available_memory, require
from limits.optimizers import refuse_others
from limits.problem import Problem, refuse_layer_norm
from limits.record import Record
from limits.regimes import Regime, classify
from limits.semiseparable import footprint
from limits.trajectory import Interrupted, Trajectory, assemble
from limits.validation import called, reporting

Progress = Callable[[int, int], None]
NEAR_ROUND_OFF = 1e-10
"""Estimated error below which nothing but round-off is left."""
SAMPLED = 1e-4
"""Tolerance where expectations are over clouds of points, unless another is asked for."""
EXTRAPOLATED = 1e-3
"""The same where the limit is extrapolated from finite depths."""
FEWEST_NODES = 40
MOST_NODES = 1200
ROUGHLY, MOST_ROUGH_NODES = 10, 64
"""How much less accurate panels need be on which only a small cloud is tried, and their nodes: it is rough in p itself."""
TIGHTEST = 1e-14
FINITE = "use recurse or simulate at a finite number of blocks"
"""What answers where there is no limit, or none that is known."""
LARGEST_GROWTH = 56.25
"""Largest multiplier^2: exp(56) is 1e24, eight digits more than a double holds."""


class NoLimitError(ValueError):
    """The exponents have no infinite-depth limit; `regime` says why.

    >>> from limits import SGD, Parametrization, ResNet
    >>> unscaled = Problem(ResNet(), Parametrization(0, 0), SGD(1.0, steps=1), [[1.0]], [[1.0]])
    >>> try:
    ...     solve(unscaled)
    ... except NoLimitError as why:
    ...     print(why.regime)
    unstable at initialization
      1/2 - alpha = 1/2 > 0       initial branches add up to L^(1/2)                    [D1.2]
      1 - alpha - gamma = 1 > 0   updates add up to L^(1)                               [D1.3]
      gamma = 0                   the update of one block's preactivation is Theta(1)   [D3.4]
    """

    def __init__(self, message: str, regime: Regime) -> None:
        super().__init__(message)
        self.regime = regime

    def __reduce__(self) -> tuple[type, tuple[str, Regime]]:
        return type(self), (str(self), self.regime)


class UnknownLimitError(ValueError):
    """The limit of such blocks, exponents or optimizers is not known here.

    >>> from limits import DEPTH_MUP, Adam, ResNet
    >>> adaptive = Problem(ResNet(), DEPTH_MUP, Adam(1.0, steps=1), [[1.0]], [[1.0]])
    >>> try:
    ...     solve(adaptive)
    ... except UnknownLimitError as why:
    ...     print(why)
    solve treats SGD, got Adam: ask recurse for infinite width by samples of neurons, or simulate for networks of finite width
    """


class ToleranceWarning(RuntimeWarning):
    """The requested tolerance was not met; `Trajectory.error` says what was.

    >>> import warnings
    >>> from limits import DEPTH_MUP, SGD, ResNet
    >>> one = Problem(ResNet(multiplier=2.0), DEPTH_MUP, SGD(1.0, steps=2), [[1.0]], [[1.0]])
    >>> with warnings.catch_warnings(record=True) as seen:
    ...     warnings.simplefilter("always")
    ...     answer = solve(one, tol=2e-14, record=Record(kinds=()))
    >>> str(seen[0].message)[:24], bool(answer.error.max() > 2e-14)
    ('tol = 2e-14 was not met:', True)
    """


@called("solve(problem, tol=1e-6)")
def solve(
    problem: Problem, *, tol: float | None = None, record: Record | None = None, progress: Progress | None = None
) -> Trajectory:
    r"""What training converges to as width and then depth go to infinity.

    At $\alpha = \gamma = 1/2$ the states become Gaussian processes over depth $p \in [0, 1]$,

    $$ x_i(p) = x_i(0) + a B_i(p) + \int_0^p \sum_{j<i} F_{ij}\delta_j\,dq, \qquad E\,dB_i dB_j = C^0_{ij}\,dp, \qquad
       F_{ij} = a^2(R^0_{ij} - w_j C^0_{ij}) $$

    and the mirror image for $\delta$; for $1/2 < \alpha$, $\alpha + \gamma = 1$ noise and response vanish and a
    deterministic flow is left. At $\alpha = 1$, $\gamma = 0$ expectations over neurons are means over clouds of them: for
    nonlinear blocks of one or two layers, form "post", whose states are functions of (U, V), and of two layers, form "mlp";
    so they are for form "pre" at all $\alpha > 1/2$. At $\alpha = 1/2$ noise multiplies $\phi'(x)$ in form "pre", and samples of
    neurons at finite depths are extrapolated. For $\alpha \ge 1/2$, $\alpha + \gamma > 1$ the blocks stay frozen at
    initialization.
    `recurse` approaches it at rate $O(1/L)$ at $\alpha = 1/2$ and $O(L^{1-2\alpha}) + O(L^{-2(1-\alpha)})$ between.

    Args:
        problem: what to train.
        tol: error allowed in outputs and recorded kernels, relative to the larger of 1 and their largest value; 1e-8 by default.
            Of nonlinear blocks at alpha = 1, and of form "pre", it is a standard error, of outputs, and 1e-4 by default; of
            form "pre" at alpha = 1/2 it is 1e-3 by default, with what more blocks change.
        record: which kernels to keep; by default the feature kernel at five depths, of eight samples where there are many.
        progress: called as progress(done, total), at once and then after every step of every resolution.

    Returns:
        A `Trajectory`; `error` is the measured difference from a finer resolution. `meta` says the nodes of the depth, and
        where expectations are over clouds the points of each.

    Raises:
        NoLimitError: no limit exists; the message names the violated inequality, `.regime` the whole verdict.
        UnknownLimitError: a ValueError; the limit of such blocks, exponents or optimizers is not known here.
        ValueError: a tolerance outside (1e-14, 1), or a record that is too large.
        DivergedError: outputs leave the range of numbers.
        UnresolvedError: the limit varies too fast over depth for the largest number of nodes.
        Interrupted: on Ctrl-C, with what was finished in `partial`.

    Warns:
        ToleranceWarning: `tol` was not met; the best result is returned with its true `error`.

    Source: TP6, Theorem 4.1 and Proposition 4.4 (the limit); the semiseparable form is this project's.

    >>> from limits import DEPTH_MUP, Problem, ResNet, SGD
    >>> one = Problem(ResNet(), DEPTH_MUP, SGD(1.0, steps=2), [[1.0]], [[1.0]])
    >>> solve(one, tol=1e-10).outputs[:, 0, 0].round(8)
    array([0.        , 2.71828183, 0.05555328])
    """
    began = time.perf_counter()
    record = Record.of(record, problem)
    tol = _tolerance(problem, tol)
    _existing(problem)
    _expected(problem)
    _contained(problem)
    _recordable(problem, record)
    report = reporting(progress)
    report(0, problem.steps)

    def done(t: int) -> None:
        report(t, problem.steps)

    if _multiplied(problem):
        answer, met = extrapolated(problem, record, tol, _moving(problem), done)
        if not met:
            size = f"{answer.meta['depths'][-1]} blocks of {answer.meta['particles']} neurons"
            reachable = f"with as many neurons as may be some {answer.meta['reachable']:.0e} can be had"
            _warn_of(tol, answer.meta["estimated_error"], size, reachable)
        return answer
    level_at = _limit(problem, record, tol, done)
    first = first_panels(
        record.depths if record.kinds else record.depths[:0], graded=bool(problem.model.phi.kinks) and _noisy(problem)
    )
    if _nested(problem):
        refinement = Refinement(ROUGHLY * tol, MOST_ROUGH_NODES, first)
    else:
        refinement = Refinement(tol, _most_nodes(problem, record), first)

    def trajectory(found: Refined, **more: Any) -> Trajectory:
        meta = {
            "rung": "deep",
            "tol": float(tol),
            "panels": found.level.panels.count,
            "order": found.level.panels.order,
            "resolutions": found.levels,
            "nodes": refinement.nodes,
            "estimated_error": found.worst,
            "version": limits.__version__,
            "seconds": time.perf_counter() - began,
        }
        points = {"points": found.points} if found.points else {}
        return assemble(problem, found.level.outputs, found.error, meta=meta | points | more, **found.level.kernels)

    try:
        found = level_at(refinement)
    except UnconvergedError as fault:
        raise UnresolvedError(
            f"the limit could not be resolved with {refinement.most_nodes} depth nodes: {_too_much(problem, fault)}, or {FINITE}"
        ) from None
    except KeyboardInterrupt as stop:
        if refinement.last is None:
            raise
        unknown = refinement.unchecked(refinement.last)  # of samples, one cloud does not tell its own error
        raise Interrupted(trajectory(unknown if sampled(problem) else refinement.best or unknown, partial=True)) from stop
    if not found.met:
        _warn_of(tol, found.worst, f"{len(found.level.panels.nodes)} depth nodes")
    return trajectory(found)


class UnresolvedError(ArithmeticError):
    """The limit varies too fast over depth for the largest number of nodes.

    >>> from limits import DEPTH_MUP, SGD, ResNet
    >>> steep = Problem(ResNet(multiplier=100.0), DEPTH_MUP, SGD(1.0, steps=1), [[1.0]], [[1.0]])
    >>> try:
    ...     solve(steep)
    ... except UnresolvedError as why:
    ...     print(str(why).rpartition(": ")[2])
    take a multiplier of at most 7.5
    """


def _warn_of(tol: float, worst: float, size: str, hint: str = "or lower the learning rate") -> None:
    seen = f"the estimated error is {worst:.1e}" if worst > tol else "some panels are still not resolved"
    hint = "this is near round-off" if worst < NEAR_ROUND_OFF else hint
    text = f"tol = {tol:g} was not met: {seen} with {size}; see Trajectory.error; {hint}"
    warnings.warn(text, ToleranceWarning, stacklevel=4)


def _too_much(problem: Problem, fault: UnconvergedError) -> str:
    """Why no panels served, and what to do."""
    name = problem.model.phi.name
    if fault.untrained:
        return f"features of {name} blocks grow without bound even before training; lower the multiplier or the inputs"
    cause = "the learning rate or multiplier is too large for this problem; lower them"
    if problem.model.phi.kinks:
        return f"{cause} (or, with {name} blocks, samples that nearly coincide have different targets: merge them)"
    return cause


def _most_nodes(problem: Problem, record: Record) -> int:
    """How many depth nodes fit into memory, at most `MOST_NODES`; refuses a problem for which not even a few do."""
    r, d = trained_directions(problem).count, problem.d_out
    sizes: dict[str, Any] = {"forward": r * (problem.steps + 1), "backward": d * problem.steps, "new": max(r, d)}

    def size(nodes: int) -> int:
        if not problem.model.phi.linear:
            return nonlinear_footprint(problem, record, nodes)
        return footprint(nodes, len(record.positions) + 2, **sizes)

    if not _noisy(problem):
        return MOST_NODES  # the flow holds one step at a time
    remedy = "take fewer steps, samples or input directions (principal components)"
    require(size(FEWEST_NODES), "this limit", remedy)
    each = (size(FEWEST_NODES) - size(0)) / FEWEST_NODES
    return int(min(MOST_NODES, (SHARE * available_memory() - size(0)) / each))


def default_tolerance(problem: Problem) -> float:
    """What `solve` takes for None."""
    return EXTRAPOLATED if _multiplied(problem) else SAMPLED if sampled(problem) else 1e-8


def _tolerance(problem: Problem, tol: float | None) -> float:
    if tol is None:
        return default_tolerance(problem)
    if isinstance(tol, bool) or not isinstance(tol, Real):
        raise ValueError(f"tol must be a number, at least {TIGHTEST:g} and below 1, got {tol!r} of type {type(tol).__name__}")
    if not TIGHTEST <= tol < 1:
        raise ValueError(f"tol must be at least {TIGHTEST:g} and below 1, got {tol!r}")
    return float(tol)


def sampled(problem: Problem) -> bool:
    """Whether the limit is a mean over samples of neurons, whose error is statistical.

    Nonlinear blocks at alpha = 1, and of form "pre" at all alpha.
    """
    return _by_neurons(problem) or _nested(problem) or _seen(problem) or _multiplied(problem)


def sampled_footprint(problem: Problem, record: Record, nodes: int, points: int) -> int:
    """Bytes that one mean over a cloud of so many points takes, at so many nodes of the depth."""
    nested = one_layer_footprint if problem.model.block_depth == 1 else two_layer_post_footprint
    kinds = ((_nested, nested), (_seen, pre_flow_footprint), (_by_neurons, two_layer_footprint))
    return next(size for kind, size in kinds if kind(problem))(problem, record, nodes, points)


def _by_neurons(problem: Problem) -> bool:
    """Whether the limit is one of two-layer blocks at alpha = 1, whose expectations are over clouds of neurons."""
    model = problem.model
    alpha, gammas, betas = problem.parametrization.layers(model.block_depth)
    two = model.block_depth == 2 and (model.form == "mlp" or model.phi.linear)
    return two and alpha == 1 and min(gammas) == 0 and not any(betas)


def _nested(problem: Problem) -> bool:
    """Whether the limit is one of one or two nonlinear layers, form "post", at alpha = 1, where means are given the neuron.

    Blocks that are not centred drift there even where they do not learn.
    """
    model = problem.model
    alpha, gammas, betas = problem.parametrization.layers(model.block_depth)
    few = model.block_depth <= 2 and not model.phi.linear and model.form == "post"
    return few and alpha == 1 and (min(gammas) == 0 or not model.centred) and not any(betas)


def _seen(problem: Problem) -> bool:
    """Whether the limit is one of blocks of form "pre" at 1/2 < alpha <= 1, whose features are functions of the neuron."""
    model = problem.model
    alpha, _, betas = problem.parametrization.layers(model.block_depth)
    return model.form == "pre" and not model.phi.linear and Fraction(1, 2) < alpha <= 1 and not any(betas)


def _multiplied(problem: Problem) -> bool:
    """Whether the limit is one of blocks of form "pre" at alpha = 1/2, where noise multiplies the slope of phi."""
    model = problem.model
    _, _, betas = problem.parametrization.layers(model.block_depth)
    return model.form == "pre" and not model.phi.linear and _noisy(problem) and not any(betas)


def _contained(problem: Problem) -> None:
    """Refuse features that grow beyond the range of numbers."""
    model = problem.model
    if not (_noisy(problem) and model.phi.homogeneous):
        return
    subtracts = model.mean_subtraction and model.form != "pre"
    rate = float(model.phi.dual(1.0, 1.0, 1.0, mean_subtraction=subtracts, order=0).V)
    growth = rate * model.multiplier**2
    if growth > LARGEST_GROWTH:
        raise UnresolvedError(
            f"features grow like exp({rate:.3g} multiplier^2) = exp({growth:.3g}) over the depth, beyond what double "
            f"precision can follow: take a multiplier of at most {(LARGEST_GROWTH / rate) ** 0.5:.1f}"
        )


def _limit(problem: Problem, record: Record, tol: float, done: Callable[[int], None]) -> Callable[[Refinement], Refined]:
    """The function that computes the problem's limit, on panels that a refinement chooses."""
    moving, noisy = _moving(problem), _noisy(problem)
    if problem.model.phi.linear:
        compute = linear_level if noisy else flow_level
    else:
        compute = partial(nonlinear_level, tol=tol) if noisy else nonlinear_flow_level
    if sampled(problem):
        nested = one_layer_limit if problem.model.block_depth == 1 else two_layer_post_limit
        kinds = ((_nested, nested), (_seen, pre_flow_limit), (_by_neurons, two_layer_limit))
        return partial(next(limit for kind, limit in kinds if kind(problem)), problem, record, done, tol)
    return lambda refinement: refinement.run(lambda panels: compute(problem, panels, record, moving, done))


def _noisy(problem: Problem) -> bool:
    """Whether the noise of the initial blocks survives, at the boundary of stability."""
    alpha, _, betas = problem.parametrization.layers(problem.model.block_depth)
    return alpha + sum(betas) == Fraction(1, 2)


def _moving(problem: Problem) -> int:
    r"""How many layers of a block learn in the limit: their updates add up, so that $k$ linear ones learn $k$ times as fast."""
    alpha, gammas, _ = problem.parametrization.layers(problem.model.block_depth)
    return sum(alpha + gamma == 1 for gamma in gammas)


def _existing(problem: Problem) -> None:
    """Refuse a problem that has no limit, or one that is not known here."""
    model = problem.model
    try:
        refuse_others(problem.optimizer, "solve")
        refuse_layer_norm(model, "solve")
    except ValueError as why:
        raise UnknownLimitError(str(why)) from None
    k = model.block_depth
    alpha, gammas, betas = problem.parametrization.layers(k)
    regime = classify(problem.parametrization, block_depth=k, centred=model.centred)
    if not regime.stable_at_initialization:
        raise NoLimitError(_unstable(problem, alpha, sum(betas, Fraction(0))), regime)
    if not regime.stable_during_training and alpha + min(gammas) >= 1:
        joint = max((step for step in regime.steps if step.reference == "D6.1"), key=lambda step: step.value)
        raise NoLimitError(f"{joint.claim}: {joint.because} [{joint.reference}]; raise gamma, or {FINITE}", regime)
    if not regime.stable_during_training:
        gamma = min(gammas)
        several = "" if k == 1 else "_i"
        raise NoLimitError(
            f"alpha + gamma{several} = {alpha + gamma} < 1: updates add up to L^({1 - alpha - gamma}) [D1.3]; "
            f"raise gamma{several} to {1 - alpha}, or {FINITE}",
            regime,
        )
    name = f"{model.phi.name} blocks" if k == 1 else f"{model.phi.name} blocks of {k} layers"
    if any(betas) and not (model.phi.linear and k == 1):
        raise UnknownLimitError(
            f"the limit of {name} is known for initial weights of exponent 0, got {_text(betas)}: use initial=0"
        )
    if sampled(problem):
        return
    if k > 1 and not model.phi.linear:
        raise UnknownLimitError(
            f"the limit of {name} is known for two layers at alpha = 1, gamma = 0, got form {model.form!r} at alpha = {alpha}, "
            f"gamma = {_text(gammas)}: take block_depth=2 and COMPLETEP, or block_depth=1, or {FINITE}"
        )
    if alpha >= 1 and _moving(problem) and not (model.phi.linear and k == 1):
        known, because = ("<= 1", "above it updates outgrow h") if k == 1 else ("< 1", "updates of second order count")
        raise UnknownLimitError(
            f"alpha = {alpha}: the limit of trained {name} is known for 1/2 <= alpha {known}, because {because}; lower alpha, "
            f"or {FINITE}"
        )


def _recordable(problem: Problem, record: Record) -> None:
    """Refuse the response of samples, and that of kinked blocks at p = 0: infinite where features of one input coincide."""
    if "response" in record.kinds and _multiplied(problem):
        raise ValueError(
            f"the response is a derivative, and samples of neurons give means, got kinds={record.kinds!r} for form 'pre' at "
            f"alpha = 1/2: leave it out, or take form='post'"
        )
    if "response" in record.kinds and problem.model.phi.kinks and _noisy(problem) and problem.steps and 0 in record.depths:
        raise ValueError(
            f"the response of {problem.model.phi.name} blocks grows like log(1/p) towards p = 0 and is infinite there, got "
            f"positions={record.positions}: record it at positions above 0"
        )


def _expected(problem: Problem) -> None:
    """Refuse functions of one's own without Gaussian expectations already at the first depth, where no panels would help."""
    phi, u = problem.model.phi, np.sum(problem.evaluated**2, axis=1) / problem.d_in
    if phi.expansion is None:
        phi.dual(u.max(), u.max(), 0.5 * u.max(), order=2 if _noisy(problem) else 1)


def _text(betas: tuple[Fraction, ...]) -> str:
    return ", ".join(map(str, betas))


def _unstable(problem: Problem, alpha: Fraction, beta: Fraction) -> str:
    if problem.model.centred:
        return (
            f"1/2 - alpha{_beta(beta)} = {Fraction(1, 2) - alpha - beta} > 0: the initial blocks add up like "
            f"exp(a^2 L^({1 - 2 * (alpha + beta)})) [D1.2]; raise alpha to 1/2, or {FINITE}"
        )
    return (
        f"1 - alpha{_beta(beta)} = {1 - alpha - beta} > 0: without mean subtraction the blocks have a mean, and "
        f"the initial means add up like L^({1 - alpha - beta}) [D1.3]; set mean_subtraction=True, or {FINITE}"
    )


def _beta(beta: Fraction) -> str:
    return " - beta" if beta else ""
