"""Small models of the kinds that users have; imported where torch is there."""

import torch
from torch import nn


class Branch(nn.Module):
    """Norm, up, activation, down: the branch of a residual MLP."""

    def __init__(self, width, bias=True, norm=True, hidden=2):
        super().__init__()
        self.norm = nn.LayerNorm(width, bias=bias) if norm else nn.Identity()
        self.up = nn.Linear(width, hidden * width, bias=bias)
        self.down = nn.Linear(hidden * width, width, bias=bias)

    def forward(self, x):
        return self.down(torch.relu(self.up(self.norm(x))))


class Residual(nn.Module):
    def __init__(self, branch):
        super().__init__()
        self.branch = branch

    def forward(self, x):
        return x + self.branch(x)


class ResidualMLP(nn.Module):
    """Read-in, blocks, final norm, readout."""

    def __init__(self, width, blocks=2, bias=True, norm=True, d_in=8, d_out=3):
        super().__init__()
        self.read_in = nn.Linear(d_in, width, bias=bias)
        self.blocks = nn.ModuleList(Residual(Branch(width, bias, norm)) for _ in range(blocks))
        self.norm = nn.LayerNorm(width, bias=bias) if norm else nn.Identity()
        self.read_out = nn.Linear(width, d_out, bias=bias)

    def features(self, x):
        x = self.read_in(x)
        for block in self.blocks:
            x = block(x)
        return x

    def forward(self, x):
        return self.read_out(self.norm(self.features(x)))


class Attention(nn.Module):
    """Causal attention with heads of fixed width, and fewer heads for keys and values."""

    def __init__(self, width, head=8, group=2, bias=True):
        super().__init__()
        self.head, self.heads, self.group = head, width // head, group
        few = width // group
        self.q, self.k, self.v = (nn.Linear(width, size, bias=bias) for size in (width, few, few))
        self.out = nn.Linear(width, width, bias=bias)

    def forward(self, x):
        batch, length, _ = x.shape
        q, k, v = (f(x).view(batch, length, -1, self.head).transpose(1, 2) for f in (self.q, self.k, self.v))
        k, v = (z.repeat_interleave(self.group, 1) for z in (k, v))
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(batch, length, -1))


class Packed(nn.Module):
    """`nn.MultiheadAttention` as a branch; it returns a pair."""

    def __init__(self, width, head=8):
        super().__init__()
        self.inner = nn.MultiheadAttention(width, width // head, batch_first=True)

    def forward(self, x):
        return self.inner(x, x, x)


class Layer(nn.Module):
    """A pre-LN transformer layer: two residual blocks."""

    def __init__(self, width, attention):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = attention(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        y = self.attention(self.norm1(x))
        x = x + (y[0] if isinstance(y, tuple) else y)
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    """Token and position embeddings, layers, final norm, unembedding, tied or not."""

    def __init__(self, width, layers=2, tied=False, attention=Attention, vocabulary=20, length=6):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.layers = nn.ModuleList(Layer(width, attention) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.unembed = nn.Linear(width, vocabulary, bias=False)
        if tied:
            self.unembed.weight = self.tokens.weight

    def features(self, tokens):
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1]))
        for layer in self.layers:
            x = layer(x)
        return x

    def forward(self, tokens):
        return self.unembed(self.norm(self.features(tokens)))


class ConvBranch(nn.Module):
    """Norm, depthwise convolution, pointwise convolution."""

    def __init__(self, width):
        super().__init__()
        self.norm = nn.BatchNorm2d(width)
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 1)

    def forward(self, x):
        return self.conv2(torch.relu(self.conv1(self.depthwise(self.norm(x)))))


class ConvNet(nn.Module):
    """A stem, residual convolutions, a mean over space, a readout."""

    def __init__(self, width, blocks=2):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.Sequential(*(Residual(ConvBranch(width)) for _ in range(blocks)))
        self.head = nn.Linear(width, 5)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


LAYERS = {"blocks": "layers.*", "branches": ("layers.*.attention", "layers.*.mlp")}
TWO = {"branches": "blocks.*.branch"}
KINDS = {
    "mlp": (ResidualMLP, TWO),
    "bias-free mlp": (lambda width, blocks=2: ResidualMLP(width, blocks, bias=False), TWO),
    "transformer": (Transformer, LAYERS),
    "tied transformer": (lambda width, blocks=2: Transformer(width, blocks, tied=True), LAYERS),
    "packed attention": (lambda width, blocks=2: Transformer(width, blocks, attention=Packed), LAYERS),
    "convolutions": (ConvNet, TWO),
}
"""Models by width and blocks (or layers), and how their residual blocks are named."""


def inputs(kind, batch=4, seed=0):
    """A batch that a model of this kind reads."""
    generator = torch.Generator().manual_seed(seed)
    if "mlp" in kind:
        return torch.randn(batch, 8, generator=generator)
    if kind == "convolutions":
        return torch.randn(batch, 3, 6, 6, generator=generator)
    return torch.randint(20, (batch, 6), generator=generator)


def planned(kind, width=64, blocks=2, base=(16, 2), **how):
    """A model and its plan."""
    from limits.pytorch import plan

    make, named = KINDS[kind]
    model = make(width, blocks)
    return model, plan(model, base=lambda: make(*base), delta=lambda: make(2 * base[0], base[1]), **named | how)
