r"""Heads of attention, which must not become wider under a fixed square root.

Attention divides $q \cdot k$ by $\sqrt d$, of heads of width $d$, as if keys and queries were independent. Training aligns
them, and the product of two aligned vectors grows like $d$: where $d$ grows with the width, divide by $d$ (TP5, Def. 4.1), or
keep $d$ and let the number of heads grow.
"""

from collections.abc import Iterator
from typing import Any

from limits.pytorch.blocks import Blocks


def wide_heads(model: Any, base: Any, blocks: Blocks) -> Iterator[str]:
    """A sentence if heads of `nn.MultiheadAttention` are wider than in the base; that of the first one."""
    from torch import nn

    attention = nn.MultiheadAttention
    known = {name: module for name, module in base.named_modules() if isinstance(module, attention)}
    for name, module in model.named_modules():
        other = known.get(blocks.counterpart(name, known) or "") if isinstance(module, attention) else None
        if other is not None and other.head_dim != module.head_dim:
            yield (
                f"heads of {name} are {module.head_dim} wide, and {other.head_dim} in the base, but their logits are divided by "
                "the square root of that, while training aligns keys and queries: keep the width of heads and let their number "
                "grow, or divide by the width itself [TP5, Definition 4.1]"
            )
            return
