r"""The best learning rate of a causal transformer, tuned at two layers and carried to four and eight.

A character-level transformer, with the norm before every branch, learns the reference manual that Python brings along
(`pydoc_data.topics`, about half a megabyte of English, so that nothing is downloaded). It is trained by AdamW with
warm-up and a cosine. A layer is two residual blocks, attention and MLP.

    python docs/examples/char_transformer.py --out char_transformer

Three parts are those of any script: the model, how it is scaled, its training. tuning.py has the rest: the sweep, which
goes on where it was stopped, and how its losses are read.
"""

from functools import cache, partial
from math import cos, pi

import torch
import tuning
from torch import nn
from torch.nn.functional import cross_entropy, gelu, scaled_dot_product_attention

from limits.pytorch import apply_multipliers, init_, param_groups, plan

WEIGHT_DECAY = 0.1
WARM_UP = 0.1
"""Share of the steps."""
WINDOWS = 64
"""Of the text that is for validation."""

# The model. There is no factor of depth in here.


class Attention(nn.Module):
    def __init__(self, width, head):
        super().__init__()
        self.heads, self.norm = width // head, nn.LayerNorm(width)
        self.into, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)

    def forward(self, x):
        q, k, v = self.into(self.norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


class MLP(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.into, self.out = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, x):
        return self.out(gelu(self.into(self.norm(x))))


class Layer(nn.Module):
    """Two residual blocks."""

    def __init__(self, width, head):
        super().__init__()
        self.attention, self.mlp = Attention(width, head), MLP(width)

    def forward(self, x):
        x = x + self.attention(x)
        return x + self.mlp(x)


class Transformer(nn.Module):
    def __init__(self, letters, context, head, blocks, width):
        super().__init__()
        self.token, self.place = nn.Embedding(letters, width), nn.Embedding(context, width)
        self.layers = nn.ModuleList(Layer(width, head) for _ in range(blocks // 2))
        self.norm, self.readout = nn.LayerNorm(width), nn.Linear(width, letters, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)

    def forward(self, letters):
        x = self.token(letters) + self.place.weight
        for layer in self.layers:
            x = layer(x)
        return self.readout(self.norm(x))


# How it is scaled: the numbers are those of `base_blocks` blocks of width `base_width`, and carried to another size.


def scaled(make, scaling, blocks, width, base_blocks, base_width):
    """A model whose initial weights and branches are scaled, and the plan for its optimizer."""
    model, base = make(blocks, width), partial(make, base_blocks, base_width)
    how = plan(
        model,
        base=base,
        delta=partial(make, base_blocks, 2 * base_width),
        branches=("layers.*.attention", "layers.*.mlp"),
        parametrization=tuning.SCALINGS[scaling],
        optimizer="adamw",
    )
    init_(model, how, base=base)
    apply_multipliers(model, how)
    return model, how


# Training.


@cache
def text():
    """Letters as numbers, those to train on and those for validation (the last tenth), and how many different ones."""
    from pydoc_data.topics import topics

    whole = "\n".join(topics[name] for name in sorted(topics))
    number = {letter: i for i, letter in enumerate(sorted(set(whole)))}
    letters = torch.tensor([number[letter] for letter in whole])
    cut = len(letters) * 9 // 10
    return letters[:cut], letters[cut:], len(number)


def windows(letters, starts, context):
    """Windows of the text, and the letter that follows each of theirs."""
    found = letters[starts[:, None] + torch.arange(context + 1)]
    return found[:, :-1], found[:, 1:]


def loss_of(model, inputs, targets):
    return cross_entropy(model(inputs).flatten(0, 1), targets.flatten())


def shape_of_rate(step, steps):
    """A linear warm-up, then a cosine to zero."""
    rise, done = (step + 1) / (WARM_UP * steps), (step + 1) / steps
    return min(rise, (1 + cos(pi * max(0.0, done - WARM_UP) / (1 - WARM_UP))) / 2)


def train(scaling, blocks, lr, seed, *, base_blocks, base_width, width, head, context, batch, steps, device):
    """One run, from its numbers to its losses."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    known, unseen, letters = text()
    make = partial(Transformer, letters, context, head)
    model, how = scaled(make, scaling, blocks, width, base_blocks, base_width)
    model.to(device)
    groups = param_groups(model, how, lr=lr, weight_decay=WEIGHT_DECAY)
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(shape_of_rate, steps=steps))
    check = [part.to(device) for part in windows(unseen, torch.linspace(0, len(unseen) - context - 2, WINDOWS).long(), context)]
    chance, losses = torch.Generator().manual_seed(seed), []
    with torch.no_grad():
        initial = loss_of(model, *check).item()
    for _ in range(steps):
        starts = torch.randint(len(known) - context, (batch,), generator=chance)
        loss = loss_of(model, *(part.to(device) for part in windows(known, starts, context)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    with torch.no_grad():
        final = loss_of(model, *check).item()
    return {"initial": initial, "validation": final, "train": sum(losses[-10:]) / len(losses[-10:])}


NETWORK = {"base_blocks": 4, "base_width": 32, "width": 32, "head": 16, "context": 32, "batch": 8, "steps": 100}
FULL = tuning.Study("Character-level transformer", train, NETWORK, (4, 8, 16), tuning.rates(2.0**-8, 2.0 ** (-8 / 3), 2 / 3), 5)
SMALL = NETWORK | {"base_blocks": 2, "base_width": 16, "width": 16, "head": 8, "context": 16, "steps": 20}
QUICK = tuning.Study("Character-level transformer, reduced", train, SMALL, (2, 4), tuning.rates(2.0**-7, 2.0**-3, 2), 2)

if __name__ == "__main__":
    tuning.main(__doc__, FULL, QUICK)
