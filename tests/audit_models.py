"""Two small models that scale as CompleteP, and the mistakes that are planted in them.

`MLP` and `Transformer` are made for (width, blocks); a `Recipe` says how they scale from the base (width 32, 4 blocks), and each
of its fields, changed, is one mistake. Blocks are residual blocks: an attention and an MLP are two.
"""

from dataclasses import dataclass

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

WIDTH, BLOCKS = 32, 4
"""Of the base."""
SYMBOLS, LENGTH = 16, 8


@dataclass(frozen=True)
class Recipe:
    """How a model scales with m_n = width / 32 and m_L = blocks / 4: by default as it should at alpha = 1, with Adam."""

    alpha: float = 1.0
    readout: float = 0.0
    embedding: float = 0.0
    initial: float = 0.0
    hidden: float = -0.5
    rate: float = -1.0
    gamma: float = 0.0
    eps: float = 1e-12
    scaled_eps: bool = True
    lr: float = 0.003
    multiplier: float = 0.5
    raw: bool = False

    def depth(self, blocks, exponent):
        return (blocks if self.raw else blocks / BLOCKS) ** exponent

    def width(self, width, exponent):
        return (width / WIDTH) ** exponent


MISTAKES = {
    "multiplier L^-1/2": Recipe(alpha=0.5),
    "no multiplier": Recipe(alpha=0.0),
    "depth factor on the read-out": Recipe(readout=0.5),
    "epsilon not scaled": Recipe(eps=1e-3, scaled_eps=False),
    "1/sqrt(2L) in the initialization": Recipe(initial=0.5),
    "hidden init of order one": Recipe(hidden=0.0),
}
"""Planted in a correct model, one at a time."""


class MLPBlock(nn.Module):
    def __init__(self, width, blocks, recipe, norm=False):
        super().__init__()
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()
        self.up, self.down = drawn(width, width, recipe), drawn(width, width, recipe, recipe.depth(blocks, -recipe.initial))
        self.multiplier = recipe.multiplier * recipe.depth(blocks, -recipe.alpha)

    def forward(self, x):
        return x + self.multiplier * self.down(F.gelu(self.up(self.norm(x))))


class Attention(nn.Module):
    """Four heads with scores over the size of a head, as µP wants them."""

    def __init__(self, width, blocks, recipe):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.query, self.key, self.value = (drawn(width, width, recipe) for _ in range(3))
        self.out = drawn(width, width, recipe, recipe.depth(blocks, -recipe.initial))
        self.multiplier = recipe.multiplier * recipe.depth(blocks, -recipe.alpha)

    def forward(self, x):
        y = self.norm(x)
        q, k, v = (layer(y).unflatten(-1, (4, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=4.0 / q.shape[-1])
        return x + self.multiplier * self.out(mixed.transpose(1, 2).flatten(-2))


class MLP(nn.Module):
    def __init__(self, width, blocks, recipe=Recipe()):
        super().__init__()
        self.embedding = nn.Linear(8, width, bias=False)
        nn.init.normal_(self.embedding.weight, std=8**-0.5 * recipe.depth(blocks, -recipe.embedding))
        self.blocks = nn.ModuleList(MLPBlock(width, blocks, recipe) for _ in range(blocks))
        self.head = Readout(width, 4, blocks, recipe)

    def forward(self, x):
        x = self.embedding(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class Transformer(nn.Module):
    def __init__(self, width, blocks, recipe=Recipe()):
        super().__init__()
        self.embedding, self.position = nn.Embedding(SYMBOLS, width), nn.Embedding(LENGTH, width)
        for part in (self.embedding, self.position):
            nn.init.normal_(part.weight, std=0.5**0.5 * recipe.depth(blocks, -recipe.embedding))
        kinds = [Attention(width, blocks, recipe) if l % 2 == 0 else MLPBlock(width, blocks, recipe, True) for l in range(blocks)]
        self.blocks = nn.ModuleList(kinds)
        self.norm, self.head = nn.LayerNorm(width), Readout(width, SYMBOLS, blocks, recipe)

    def forward(self, tokens):
        x = self.embedding(tokens) + self.position(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class Readout(nn.Module):
    """A multiplier n_base / n before a matrix with entries of order one (here small, so that first outputs are)."""

    def __init__(self, width, outputs, blocks, recipe):
        super().__init__()
        self.matrix = nn.Linear(width, outputs, bias=False)
        nn.init.normal_(self.matrix.weight, std=0.3 * WIDTH**-0.5)
        self.multiplier = recipe.width(width, -1.0) * recipe.depth(blocks, -recipe.readout)

    def forward(self, x):
        return self.matrix(self.multiplier * x)


def drawn(inputs, outputs, recipe, factor=1.0):
    """A hidden matrix of standard deviation n^-1/2 times a factor."""
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(layer.weight, std=WIDTH**-0.5 * recipe.width(inputs, recipe.hidden) * factor)
    return layer


def adam(recipe=Recipe()):
    """What makes Adam for a model of a size: hidden matrices at rates m_n^-1, all at an epsilon that follows the gradient."""

    def make(model, width, blocks):
        inside = list(model.blocks.parameters())
        hidden, vectors = ([p for p in inside if (p.ndim > 1) == two] for two in (True, False))
        ends = [p for p in model.parameters() if all(p is not other for other in inside)]
        eps, branch = recipe.eps * (recipe.width(width, -1.0) if recipe.scaled_eps else 1.0), recipe.depth(blocks, -recipe.gamma)
        inner = eps * (recipe.depth(blocks, -recipe.alpha) if recipe.scaled_eps else 1.0)
        groups = [
            {"params": hidden, "lr": recipe.lr * recipe.width(width, recipe.rate) * branch, "eps": inner},
            {"params": vectors, "lr": recipe.lr * branch, "eps": inner},
            {"params": ends, "lr": recipe.lr, "eps": eps},
        ]
        return torch.optim.Adam([group for group in groups if group["params"]], lr=recipe.lr)

    return make


def regression():
    """Batches for the MLP."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(32, 8, generator=generator)
    return [(x, torch.stack([torch.sin(2 * x[:, 0]), x[:, 1] * x[:, 2], x[:, 3], x[:, 4].abs()], 1))]


def sequences():
    """Batches for the transformer: the next symbol is the sum of the last two."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(SYMBOLS, (16, LENGTH), generator=generator)
    return [(tokens, (tokens + tokens.roll(1, 1)) % SYMBOLS)]


def squared(outputs, targets):
    return F.mse_loss(outputs, targets)


def cross_entropy(outputs, targets):
    return F.cross_entropy(outputs.flatten(0, 1), targets.flatten())


MODELS = {"mlp": (MLP, regression, squared), "transformer": (Transformer, sequences, cross_entropy)}


def asked(name, recipe=Recipe(), **options):
    """Arguments of `coordinate_check` for one of the models."""
    model, data, loss = MODELS[name]
    sizes = {"widths": (64, 128, 256), "blocks": (4, 8, 16)}
    made = {"make_model": lambda width, blocks: model(width, blocks, recipe), "make_optimizer": adam(recipe)}
    return made | {"data": data(), "loss": loss, "steps": 3} | sizes | options
