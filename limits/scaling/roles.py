r"""The kinds of parameters of a residual network, and where each stands in it.

| role | what | fan-in | fan-out |
|---|---|---|---|
| input | embeddings, of tokens, patches or positions; a first layer | 1 | n |
| vector | width-sized vectors outside blocks: final norm gain and bias, input bias | 1 | n |
| hidden | matrices inside blocks, both sides growing with the width | n | n |
| bias | biases inside blocks | 1 | n |
| norm | norm gains and biases inside blocks | 1 | n |
| output | the readout (unembedding) | n | 1 |
| output bias | | 1 | 1 |
| tied | one matrix for embedding and readout | both uses | |
"""

from dataclasses import dataclass, replace

from limits.exponents import Affine

WIDTH, FINITE = Affine.symbol("m_N"), Affine(0)


@dataclass(frozen=True)
class Use:
    """One place where a parameter acts.

    Attributes:
        fan_in: logarithm of how many entries of the input one output adds up.
        fan_out: logarithm of the number of outputs.
        matrix: whether entries are a matrix; else every output has an entry of its own.
        inside: "" outside blocks; "hidden", "bias" or "norm" inside.
        readout: whether outputs of the network are read off here.
    """

    fan_in: Affine
    fan_out: Affine
    matrix: bool = False
    inside: str = ""
    readout: bool = False


INPUT, OUTPUT = Use(FINITE, WIDTH, matrix=True), Use(WIDTH, FINITE, matrix=True, readout=True)
USES = {
    "input": (INPUT,),
    "vector": (Use(FINITE, WIDTH),),
    "hidden": (Use(WIDTH, WIDTH, matrix=True, inside="hidden"),),
    "bias": (Use(FINITE, WIDTH, inside="bias"),),
    "norm": (Use(FINITE, WIDTH, inside="norm"),),
    "output": (OUTPUT,),
    "output bias": (Use(FINITE, FINITE),),
    "tied": (INPUT, OUTPUT),
}
"""By role; what is tied acts in two places."""
ROLES = tuple(USES)
"""The rows of a table of ratios."""
MATRICES = ("input", "hidden", "output", "tied")
INSIDE = ("hidden", "bias", "norm")
PER_LAYER = ("hidden", "bias")
"""Roles with a row for every layer of a block whose layers have exponents of their own."""


def resized(use: Use, fan_in: Affine, fan_out: Affine) -> Use:
    """The same use with other sides."""
    return replace(use, fan_in=fan_in, fan_out=fan_out)
