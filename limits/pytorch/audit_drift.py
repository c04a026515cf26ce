r"""Does the best learning rate stay where it is as blocks are added? A small sweep, fitted as `limits.compare.transfer` does.

Every learning rate of the optimizer is multiplied by one factor; the loss after training, on all batches, is lowest at a factor
$r^*(L)$, which is located by a parabola with an error from a jackknife over seeds. The exponent of $r^*$ in the number of blocks
should be zero.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from limits.compare.optimum import Optimum, locate
from limits.compare.slopes import Estimate
from limits.pytorch.audit_blocks import run
from limits.pytorch.audit_findings import Finding
from limits.pytorch.audit_laws import BLOCKS, SAME_OPTIMUM, TRANSFER, Law
from limits.pytorch.audit_measure import Setting, drawn, frozen, quiet, train

OPTIMUM = "best learning rate"
LAW = Law(OPTIMUM, BLOCKS, TRANSFER, Fraction(0), "the optimum stays", SAME_OPTIMUM, SAME_OPTIMUM)


def final_loss(setting: Setting, width: int, blocks: int, seed: Sequence[int], factor: float, steps: int) -> float:
    """The mean loss on all batches after training with every learning rate multiplied; infinite where it diverged."""
    model, optimizer = drawn(setting, width, blocks, seed)
    for group in optimizer.param_groups:
        if "lr" not in group:
            raise ValueError(
                f"lrs= multiplies every 'lr' of the optimizer, and {type(optimizer).__name__} has none: leave lrs out"
            )
        group["lr"] *= factor
    train(model, optimizer, setting, steps)
    model = frozen(model)
    with quiet():
        losses = [float(setting.loss(run(model, inputs), targets)) for inputs, targets in setting.batches]
    mean = float(np.mean(losses))
    return mean if np.isfinite(mean) else float("inf")


def drift(blocks: Sequence[int], factors: np.ndarray, losses: np.ndarray, tolerance: float) -> Finding:
    """The exponent of the best factor in the number of blocks, which should be zero.

    Its error is by the jackknife over seeds; what the spacing of the factors adds is alike at all sizes, and left out.

    Args:
        blocks: of every size.
        factors: of the learning rates, shape (factors,).
        losses: shape (sizes, factors, seeds).
        tolerance: of the audit.
    """
    found = _optima(factors, losses)
    seeds = losses.shape[-1]
    without = [_optima(factors, np.delete(losses, s, axis=2)) for s in range(seeds)]
    sizes, curve = np.array(blocks, float), np.log([each.at for each in found])
    each = np.log([[one.at for one in some] for some in without])
    spread = each.std(0) * (seeds - 1) ** 0.5
    unknown = {int(L): one.where for L, one in zip(sizes, found, strict=True) if not one.known}
    if unknown:
        edges = ", ".join(f"the {side} at L = {L}" for L, side in unknown.items())
        missing = f"the best factor is at an edge of lrs, {edges}: widen lrs"
        return Finding(LAW, Estimate.unknown(), np.nan, tolerance, sizes, curve, spread, missing)
    x = np.log(sizes) - np.log(sizes).mean()
    whole, parts = x @ curve / (x @ x), each @ x / (x @ x)
    measured = Estimate.of(seeds * whole - (seeds - 1) * parts)
    return Finding(LAW, measured, np.nan, tolerance, sizes, curve, spread, remedy=_remedy(whole))


def _optima(factors: np.ndarray, losses: np.ndarray) -> list[Optimum]:
    """The best factor at every size, by the mean over seeds."""
    return [locate(factors, each) for each in losses]


def _remedy(exponent: float) -> str:
    return (
        f"the best learning rate scales like L^{exponent:+.2f}: where sizes and updates pass, look at block linearity (blocks "
        "that become linear in their updates learn less at every depth), at weight decay, and at what lies outside the blocks"
    )


def sweep(
    setting: Setting,
    width: int,
    blocks: Sequence[int],
    seeds: Sequence[Sequence[int]],
    factors: np.ndarray,
    steps: int,
    tick: Callable[[], None],
) -> np.ndarray:
    """Losses of shape (sizes, factors, seeds): the same weights at every factor."""
    losses = np.empty((len(blocks), len(factors), len(seeds)))
    for i, size in enumerate(blocks):
        for j, factor in enumerate(factors):
            losses[i, j] = [final_loss(setting, width, size, seed, float(factor), steps) for seed in seeds]
            tick()
    return losses
