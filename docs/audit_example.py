"""Does this model scale? The example of the page on audits.

`python docs/audit_example.py` prints it and draws audit_right.png and audit_wrong.png.
"""

import sys
from pathlib import Path

import torch
from torch import nn

from limits.pytorch import apply_multipliers, coordinate_check, init_, param_groups, plan


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.branch = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, x):
        return x + self.branch(x)


class Net(nn.Module):
    def __init__(self, width, blocks):
        super().__init__()
        self.first = nn.Linear(8, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))
        self.last = nn.Linear(width, 4)

    def forward(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = block(x)
        return self.last(x)


def planned(model):
    """The hyperparameters were tuned at width 64 with 4 residual blocks."""
    return plan(model, base=lambda: Net(64, 4), delta=lambda: Net(128, 4), branches="blocks.*.branch", optimizer="adam")


def scaled(width, blocks):
    """A model that is scaled by what `limits.scaling` says: CompleteP."""
    model = Net(width, blocks)
    how = planned(model)
    init_(model, how, base=lambda: Net(64, 4))
    apply_multipliers(model, how)
    return model


def optimizer(model, width, blocks):
    return torch.optim.Adam(param_groups(model, planned(model), lr=0.0005))


def batches():
    x = torch.randn(32, 8, generator=torch.Generator().manual_seed(0))
    return [(x, torch.stack([torch.sin(2 * x[:, 0]), x[:, 1] * x[:, 2], x[:, 3], x[:, 4].abs()], 1))]


SIZES = {"widths": (64, 128, 256), "blocks": (4, 8, 16), "data": batches(), "loss": nn.functional.mse_loss}


def audits():
    """Of the model as it should be scaled, and of the same one with the same learning rates and no multipliers."""
    right = coordinate_check(scaled, make_optimizer=optimizer, **SIZES)
    wrong = coordinate_check(Net, make_optimizer=optimizer, **SIZES)
    return right, wrong


if __name__ == "__main__":
    from limits.plots import audited

    torch.set_num_threads(1)  # the networks are small
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent)
    for name, audit in zip(("audit_right", "audit_wrong"), audits(), strict=True):
        print(f"print({name.removeprefix('audit_')})\n{audit}\n")
        audited(audit).savefig(folder / f"{name}.png", dpi=110)
