r"""The lazy limit: the Gaussian process (NNGP) and the tangent kernel (NTK) of infinitely wide networks at initialization.

With the outputs $f = V^Tx^L/\sqrt n$ of a network in the neural-tangent scaling, $E ff^T$ is the feature kernel at the last
depth, and training at a vanishing learning rate follows $\partial_t f = -\Theta\chi$. Both are finite for every number of blocks
and converge with depth wherever `classify` calls the parametrization stable.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

from limits.deep import NoLimitError, UnresolvedError
from limits.parametrization import DEPTH_MUP, Parametrization
from limits.problem import ResNet, matrix, refuse_layer_norm
from limits.regimes import classify
from limits.training import DivergedError
from limits.validation import expect, whole

Array = np.ndarray
PARTS = ("blocks", "input", "output")
ROUND_OFF = 1e-13
LARGEST = 1e150
"""Kernels beyond are refused: their products leave the range of numbers."""


def nngp(
    model: ResNet,
    inputs: Any,
    others: Any = None,
    *,
    parametrization: Parametrization = DEPTH_MUP,
    blocks: int | None = None,
) -> Array:
    r"""Covariance of the outputs of infinitely wide networks at initialization.

    $C^0(1)$ of $\partial_pC^0 = a^2V(C^0)$, $C^0(0) = \xi\cdot\xi'/d_{in}$, at infinite depth and $\alpha = 1/2$; above, blocks
    vanish. With L blocks $C^l = C^{l-1} + a^2L^{-2\alpha}V(C^{l-1})$. Without mean subtraction $V = E\phi\phi$, and the means
    $m^l = m^{l-1} + aL^{-\alpha}E\phi$ add $aL^{-\alpha}(m_iE\phi_j + m_jE\phi_i)$.

    Args:
        model: the network.
        inputs: $\xi$, shape (P, d_in).
        others: $\xi'$, shape (Q, d_in); the inputs themselves if None.
        parametrization: exponents of depth.
        blocks: L; infinite depth if None.

    Returns:
        Kernel of shape (P, Q).

    Raises:
        NoLimitError: infinite depth, where the initialization is not stable.
        UnresolvedError: infinite depth, and kernels that blow up before the last depth, as steep functions' do.
        DivergedError: kernels that leave the range of numbers.
        ValueError: nonlinear blocks of several layers.

    Source: [D5.3]; HY for $\alpha = 1/2$.

    >>> nngp(ResNet("relu"), [[1.0]]).round(6)
    array([[1.406135]])
    """
    return _Initial(model, inputs, others, parametrization, blocks).features


def ntk(
    model: ResNet,
    inputs: Any,
    others: Any = None,
    *,
    parametrization: Parametrization = DEPTH_MUP,
    blocks: int | None = None,
    trained: str | Sequence[str] = "blocks",
) -> Array:
    r"""Tangent kernel of infinitely wide networks at initialization, each part at learning rate 1.

    $$ \Theta = \int_0^1 a^2V_c(C^0)\,C^0B\,dp \ [+\ C^0(1)\ \text{of V}]\ [+\ B(0)\,\xi\cdot\xi'/d_{in}\ \text{of U}], \qquad
       -\partial_pB = a^2V_c(C^0)B,\quad B(1) = 1 $$

    and the sum over blocks in place of the integral at finite depth, where SGD's factor $L^{\alpha-\gamma}$ is in $\Theta$.
    For form "pre", $E\phi\phi$ takes the place of $V_cC^0$ in the integrand; $k$ linear layers count $k$ times.

    Args:
        model, inputs, others, parametrization, blocks: those of `nngp`.
        trained: one or several of "blocks", "input" (U) and "output" (V).

    Returns:
        Kernel of shape (P, Q).

    Raises:
        NoLimitError: infinite depth, where the initialization or training is not stable.
        UnresolvedError, DivergedError: as `nngp`.
        ValueError: nonlinear blocks of several layers, or an unknown part.

    Source: [D5.4], the first step at a vanishing learning rate.

    >>> ntk(ResNet("linear"), [[1.0]]).round(6)
    array([[2.718282]])
    """
    trained = [trained] if isinstance(trained, str) else trained
    if unknown := [part for part in trained if part not in PARTS]:
        raise ValueError(f"trained must be any of {', '.join(PARTS)}, got {unknown[0]!r}")
    kernels = _Initial(model, inputs, others, parametrization, blocks, learning="blocks" in trained)
    parts = {"blocks": kernels.tangent, "input": kernels.backward * kernels.gram, "output": kernels.features}
    return sum((parts[part] for part in set(trained)), np.zeros_like(kernels.features))


@dataclass(frozen=True)
class _Rates:
    """What all blocks together add: mean, variance of their noise, and updates, per unit of depth."""

    mean: float
    noise: float
    drift: float


class _Initial:
    """Kernels of features, of gradients and of updates at the last depth."""

    def __init__(
        self,
        model: ResNet,
        inputs: Any,
        others: Any,
        parametrization: Parametrization,
        blocks: int | None,
        learning: bool = False,
    ) -> None:
        expect(model, ResNet, "model")
        refuse_layer_norm(model, "the lazy limit")
        expect(parametrization, Parametrization, "parametrization")
        if model.block_depth > 1 and not model.phi.linear:
            raise ValueError(
                f"the kernels of {model.phi.name} blocks of {model.block_depth} layers are not known: take one layer"
            )
        x = matrix(inputs, "inputs")
        y = x if others is None else matrix(others, "others")
        if x.shape[1] != y.shape[1]:
            raise ValueError(f"others must have {x.shape[1]} dimensions like the inputs, got {y.shape[1]}")
        self.model, self.d_in = model, x.shape[1]
        self.gram = x @ y.T / self.d_in
        self.p, self.q = self.gram.shape
        self.same = np.all(x[:, None] == y, axis=-1)
        start = [np.zeros(self.p), np.zeros(self.q), *(np.sum(z * z, 1) / self.d_in for z in (x, y))]
        start += [self.gram.ravel(), np.zeros(self.gram.size), np.zeros(self.gram.size)]
        if blocks is None:
            rates = _limit_rates(model, parametrization, learning)
            end = self._integrate(np.concatenate(start), rates)
        else:
            end = self._recurse(np.concatenate(start), model, parametrization, whole(blocks, "blocks"))
        *_, features, tangent, growth = self._parts(end)
        self.features, self.tangent, self.backward = features, tangent, np.exp(growth)

    def _parts(self, y: Array) -> list[Array]:
        p, q = self.p, self.q
        vectors = np.split(y[: 2 * (p + q)], [p, p + q, 2 * p + q])
        return [*vectors, *y[2 * (p + q) :].reshape(3, p, q)]

    def _change(self, y: Array, rates: _Rates, blocks: int | None = None) -> Array:
        """Rates of (means, variances, covariance, tangent kernel, log of what gradients grow by)."""
        model, phi = self.model, self.model.phi
        m, n, u, v, c, tangent, _ = self._parts(y)
        c = np.where(self.same, np.sqrt(u[:, None] * v), c)  # V_c of a kinked phi is as steep there as a square root
        centred = model.mean_subtraction and model.form == "post"
        dual = phi.dual(u[:, None], v, c, mean_subtraction=centred, order=1)
        own = [phi.dual(w, w, w, mean_subtraction=centred, order=0).V for w in (u, v)]
        f, g = (phi.mean(w) if rates.mean else np.zeros_like(w) for w in (u, v))
        covariance = rates.noise * dual.V + rates.mean * (np.outer(m, g) + np.outer(f, n))
        update = dual.V_c * c if model.form == "post" else dual.V
        slope = rates.noise * dual.V_c
        growth = slope if blocks is None else blocks * np.log1p(slope / blocks)
        u_rate, v_rate = (rates.noise * o + 2 * rates.mean * a * b for o, a, b in zip(own, (m, n), (f, g), strict=True))
        learned = slope * tangent + rates.drift * update
        return np.concatenate(
            [rates.mean * f, rates.mean * g, u_rate, v_rate, covariance.ravel(), learned.ravel(), growth.ravel()]
        )

    def _integrate(self, start: Array, rates: _Rates) -> Array:
        if rates == _Rates(0.0, 0.0, 0.0):
            return start
        scale = max(1.0, float(np.abs(start).max()))
        with np.errstate(over="ignore", invalid="ignore"):
            found = solve_ivp(
                lambda _, y: self._change(y, rates), (0.0, 1.0), start, method="DOP853", rtol=ROUND_OFF, atol=ROUND_OFF * scale
            )
        if not found.success:
            raise UnresolvedError(
                f"the kernels of {self.model.phi.name} blocks grow without bound near depth p = {found.t[-1]:.3f}: lower the "
                "multiplier or the inputs, or give blocks=…"
            )
        return found.y[:, -1]

    def _recurse(self, y: Array, model: ResNet, parametrization: Parametrization, L: int) -> Array:
        alpha, gammas, betas = parametrization.layers(model.block_depth)
        if any(betas) and not model.phi.linear:
            raise ValueError(f"the kernels of {model.phi.name} blocks are known for initial=0, got {parametrization.initial!r}")
        a, noise = model.multiplier, L ** float(1 - 2 * (alpha + sum(betas)))
        drift = sum(L ** float(1 - alpha - gamma) for gamma in gammas)
        rates = _Rates(0.0 if model.centred else a * L ** float(1 - alpha), a**2 * noise, a**2 * drift)
        with np.errstate(over="ignore", invalid="ignore"):
            for l in range(1, L + 1):
                y = y + self._change(y, rates, L) / L
                if not np.all(np.abs(y) < LARGEST):
                    raise DivergedError(f"the kernels exceed {LARGEST:g} at block {l} of {L}: lower the multiplier or the inputs")
        return y


def _limit_rates(model: ResNet, parametrization: Parametrization, learning: bool) -> _Rates:
    """Rates at infinite depth.

    Raises:
        NoLimitError: they are infinite.
    """
    regime = classify(parametrization, block_depth=model.block_depth, centred=model.centred)
    if not regime.stable_at_initialization:
        raise NoLimitError(f"the kernels grow without bound with depth, the network is {regime.name}; give blocks=…", regime)
    if learning and not regime.stable_during_training:
        raise NoLimitError(
            f"the tangent kernel grows without bound with depth, the network is {regime.name}; give blocks=…", regime
        )
    alpha, gammas, betas = parametrization.layers(model.block_depth)
    a2 = model.multiplier**2
    mean = model.multiplier if alpha == 1 and not model.centred else 0.0
    noise = a2 if alpha + sum(betas) == Fraction(1, 2) else 0.0
    return _Rates(mean, noise, a2 * sum(alpha + gamma == 1 for gamma in gammas))
