r"""The best learning rate of a residual MLP, tuned at two blocks and carried to four, eight and sixteen.

Blocks of two layers, without any norm, learn scikit-learn's handwritten digits with AdamW. The digits come with
scikit-learn, so that nothing is downloaded; three tenths of them are kept for validation.

    python docs/examples/digits_mlp.py --out digits_mlp

Three parts are those of any script: the model, how it is scaled, its training. tuning.py has the rest: the sweep, which
goes on where it was stopped, and how its losses are read.
"""

from functools import cache, partial

import torch
import tuning
from torch import nn
from torch.nn.functional import cross_entropy

from limits.pytorch import apply_multipliers, init_, param_groups, plan

WEIGHT_DECAY = 0.1

# The model. There is no factor of depth in here.


class MLP(nn.Module):
    def __init__(self, blocks, width):
        super().__init__()
        self.first = nn.Linear(64, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)) for _ in range(blocks)
        )
        self.last = nn.Linear(width, 10)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
                nn.init.zeros_(module.bias)

    def forward(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        return self.last(x)


# How it is scaled: the numbers are those of `base_blocks` blocks of width `base_width`, and carried to another size.


def scaled(scaling, blocks, width, base_blocks, base_width):
    """A model whose initial weights and branches are scaled, and the plan for its optimizer."""
    model, base = MLP(blocks, width), partial(MLP, base_blocks, base_width)
    how = plan(
        model,
        base=base,
        delta=partial(MLP, base_blocks, 2 * base_width),
        branches="blocks.*",
        parametrization=tuning.SCALINGS[scaling],
        optimizer="adamw",
    )
    init_(model, how, base=base)
    apply_multipliers(model, how)
    return model, how


# Training.


@cache
def digits():
    """Pixels and classes, those to train on and those for validation; every pixel is shifted and scaled alike."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, classes = load_digits(return_X_y=True)
    split = train_test_split(pixels / 8 - 1, classes, test_size=0.3, stratify=classes, random_state=0)
    known, unseen, known_classes, unseen_classes = map(torch.as_tensor, split)
    return known.float(), known_classes, unseen.float(), unseen_classes


def train(scaling, blocks, lr, seed, *, base_blocks, base_width, width, batch, steps, device):
    """One run, from its numbers to its losses."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model, how = scaled(scaling, blocks, width, base_blocks, base_width)
    model.to(device)
    optimizer = torch.optim.AdamW(param_groups(model, how, lr=lr, weight_decay=WEIGHT_DECAY), fused=True)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    known, classes, unseen, unseen_classes = (part.to(device) for part in digits())
    chance, losses = torch.Generator().manual_seed(seed), []
    with torch.no_grad():
        initial = cross_entropy(model(unseen), unseen_classes).item()
    for _ in range(steps):
        rows = torch.randint(len(known), (batch,), generator=chance)
        loss = cross_entropy(model(known[rows]), classes[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    with torch.no_grad():
        answer = model(unseen)
    return {
        "initial": initial,
        "validation": cross_entropy(answer, unseen_classes).item(),
        "train": sum(losses[-10:]) / len(losses[-10:]),
        "accuracy": (answer.argmax(1) == unseen_classes).float().mean().item(),
    }


NETWORK = {"base_blocks": 2, "base_width": 64, "width": 64, "batch": 64, "steps": 100}
FULL = tuning.Study("Residual MLP on digits", train, NETWORK, (2, 4, 8, 16), tuning.rates(2.0**-9, 2.0**-5, 0.5), 8)
SMALL = NETWORK | {"base_width": 16, "width": 16, "steps": 20}
QUICK = tuning.Study("Residual MLP on digits, reduced", train, SMALL, (2, 4), tuning.rates(2.0**-6, 2.0**-2, 2), 2)

if __name__ == "__main__":
    tuning.main(__doc__, FULL, QUICK)
