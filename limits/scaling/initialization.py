"""Initial weights that already shrink with depth, beside a branch multiplier that does."""

from math import sqrt

from limits.scaling.size import Size, SizeLike
from limits.validation import number


def gpt2_std(std: float, base: SizeLike) -> float:
    r"""The initial std to write for the last matrix of every block, at any depth, in a script with GPT-2's $1/\sqrt{2\,layers}$.

    GPT-2 draws the last matrix of a block with std / sqrt(2 layers) = std / sqrt(blocks). Beside the branch multiplier of
    `scale`, that factor must not change with depth any more, or depth counts twice: it stays what it is at the base.

    Args:
        std: what the script divides, such as 0.02.
        base: the size that was tuned.

    >>> gpt2_std(0.02, "width=256,blocks=16")
    0.005
    """
    return number(std, "std", open_low=True) / sqrt(Size.of(base).blocks)
