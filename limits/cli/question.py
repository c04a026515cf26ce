"""Options that pose a `Problem`."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

if TYPE_CHECKING:
    from limits.data import Dataset
    from limits.optimizers import Optimizer
    from limits.problem import Problem, ResNet

DATA, TRAINING, ANSWER = "What to learn", "How to train", "The answer"


def _of(group: str, help: str, **rest: Any) -> Any:
    return Option(help=help, rich_help_panel=group, **rest)


def numbers(text: str, name: str, kind: Callable[[str], Any] = float) -> tuple[Any, ...]:
    """Comma-separated numbers.

    >>> numbers("8,16", "--blocks", int)
    (8, 16)
    """
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        what = "whole numbers" if kind is int else "numbers"
        raise ValueError(f"{name} must be {what} with commas between them, got {text!r}") from None


def exponents(text: str) -> str | tuple[str, ...]:
    """One exponent for all layers of a block, or one for each with commas between them.

    >>> exponents("1/2"), exponents("0, 1/2")
    ('1/2', ('0', '1/2'))
    """
    parts = tuple(part.strip() for part in text.split(","))
    return parts[0] if len(parts) == 1 else parts


def _rate(text: str, name: str) -> float | tuple[float, ...]:
    rates = numbers(text, name)
    return rates[0] if len(rates) == 1 else rates


@dataclass(frozen=True)
class Question:
    """The options that every rung takes."""

    data: Annotated[
        str,
        _of(
            DATA,
            "digits (handwritten, from scikit-learn), teacher (linear, synthetic), or an .npz or .csv file.",
            metavar="NAME|PATH",
        ),
    ] = "digits"
    classes: Annotated[
        str | None,
        _of(DATA, "Which digits, such as 3,8; two give one output with targets -1 and 1, more one output each.  [default: 0,1]"),
    ] = None
    samples: Annotated[int | None, _of(DATA, "P, how many to train on, of digits or teacher.  [default: 100]")] = None
    directions: Annotated[
        int | None, _of(DATA, "Input dimension: principal directions of the digits, or the teacher's d_in.  [default: 10]")
    ] = None
    probes: Annotated[int | None, _of(DATA, "Further samples to evaluate and not to train on.  [default: 0]")] = None
    data_seed: Annotated[int, _of(DATA, "Seed of the choice of samples and of mini-batches.")] = 0
    alpha: Annotated[str, _of(TRAINING, "Exponent of the block multiplier a L^-alpha.", metavar="FRACTION")] = "1/2"
    gamma: Annotated[
        str,
        _of(TRAINING, "Exponent of the update L^-gamma, or one per layer of a block: 0,1/2", metavar="FRACTION"),
    ] = "1/2"
    initial: Annotated[
        str, _of(TRAINING, "beta, initial weights are L^-beta times as large; or one per layer: 1/2,0", metavar="FRACTION")
    ] = "0"
    nonlinearity: Annotated[
        str,
        _of(
            TRAINING,
            "phi, such as relu, tanh, 'sin + cos' or 'leaky_relu(0.1)'.",
            metavar="TEXT",
        ),
    ] = "linear"
    mean_subtraction: Annotated[bool, _of(TRAINING, "Subtract the mean over neurons; only for form post of a nonlinearity.")] = (
        True
    )
    form: Annotated[
        str,
        _of(TRAINING, "Block of a nonlinearity: post, G phi(W x); pre, W phi(x); mlp, W2 phi(W1 x).", metavar="post|pre|mlp"),
    ] = "post"
    block_depth: Annotated[
        int | None,
        Option("--block-depth", "-k", help="k, layers in a block.  [default: 1; 2 of form mlp]", rich_help_panel=TRAINING),
    ] = None
    expansion: Annotated[float, _of(TRAINING, "M/n, width between the layers of a block over that of the network.")] = 1.0
    layer_norm: Annotated[bool, _of(TRAINING, "Blocks read features after LayerNorm; not of solve.")] = False
    multiplier: Annotated[float, _of(TRAINING, "Block multiplier a.")] = 1.0
    lr: Annotated[str, _of(TRAINING, "Learning rate of the blocks, or one per step: 0.1,0.2,0.3", metavar="RATE")] = "0.3"
    steps: Annotated[int, _of(TRAINING, "T, number of updates.")] = 10
    optimizer: Annotated[
        str, _of(TRAINING, "What moves the weights; solve knows sgd.", metavar="sgd|adam|adamw|signsgd|muon")
    ] = "sgd"
    momentum: Annotated[
        float | None, _of(TRAINING, "Momentum in [0, 1), of sgd, signsgd or muon.  [default: 0; 0.95 for muon]")
    ] = None
    weight_decay: Annotated[
        float | None,
        _of(TRAINING, "A step takes the share lr times it off the weights; not of solve.  [default: 0; 0.01 for adamw]"),
    ] = None
    input_lr: Annotated[str, _of(TRAINING, "Rate of the read-in U, or one per step; 0 freezes it.", metavar="RATE")] = "0"
    output_lr: Annotated[str, _of(TRAINING, "Rate of the read-out V, or one per step; 0 freezes it.", metavar="RATE")] = "0"
    loss: Annotated[str | None, _of(TRAINING, "mse, logistic (targets -1 and 1) or cross_entropy (classes).  [default: mse]")] = (
        None
    )
    batch_size: Annotated[int | None, _of(TRAINING, "Samples per step, in a fresh random order every epoch.  [default: all]")] = (
        None
    )

    def problem(self) -> "Problem":
        """What the options ask."""
        from limits.data import minibatches
        from limits.parametrization import Parametrization

        optimizer, model = self.trainer(), self.model()
        parametrization = Parametrization(self.alpha, exponents(self.gamma), exponents(self.initial))
        parametrization.layers(model.block_depth)
        data = self.dataset()
        batches = None
        if self.batch_size is not None:
            batches = minibatches(len(data.inputs), self.batch_size, steps=self.steps, seed=self.data_seed)
        return data.problem(model, parametrization, optimizer, loss=self.loss, batches=batches)

    def model(self) -> "ResNet":
        """The network of --nonlinearity and what is said of its blocks."""
        from limits.problem import LAYERS, ResNet

        parts = ("nonlinearity", "multiplier", "mean_subtraction", "form", "layer_norm", "expansion")
        depth = (LAYERS.get(self.form) or 1) if self.block_depth is None else self.block_depth
        return ResNet(block_depth=depth, **{name: getattr(self, name) for name in parts})

    def trainer(self) -> "Optimizer":
        """The optimizer of --optimizer, with the rates and what else it takes."""
        from limits.optimizers import OPTIMIZERS

        kind = {name.lower(): each for name, each in OPTIMIZERS.items()}.get(self.optimizer.lower())
        if kind is None:
            raise ValueError(f"--optimizer must be one of {', '.join(OPTIMIZERS)}, got {self.optimizer!r}")
        takes = {f.name for f in fields(kind)}
        if self.momentum is not None and "momentum" not in takes:
            raise ValueError(f"--momentum is for SGD, SignSGD and Muon, got it with {kind.__name__}: leave it out")
        if self.weight_decay is not None and "weight_decay" not in takes:
            raise ValueError(f"--weight-decay does not go with {kind.__name__}: take --optimizer adamw")
        rates = {name: _rate(getattr(self, name), f"--{name.replace('_', '-')}") for name in ("lr", "input_lr", "output_lr")}
        return kind(steps=self.steps, **rates, **self._given("momentum", "weight_decay"))

    def dataset(self) -> "Dataset":
        """The data of --data."""
        from limits.data import digits, load, teacher

        if self.data == "digits":
            encoding = {"cross_entropy": "classes", "logistic": "signs"}.get(self.loss or "mse")
            classes = numbers("0,1" if self.classes is None else self.classes, "--classes", int)
            return digits(classes, targets=encoding, seed=self.data_seed, **self._given("samples", "directions", "probes"))
        if self.data == "teacher":
            self._refuse("teacher has no classes", "classes")
            sizes = {"samples": 100, "d_in": self.directions if self.directions is not None else 10}
            return teacher(**sizes | self._given("samples", "probes"), seed=self.data_seed)
        self._refuse("a file is read whole", "classes", "samples", "directions", "probes")
        if not Path(self.data).suffix:
            raise ValueError(f"--data must be digits, teacher, or the path of an .npz or .csv file, got {self.data!r}")
        return load(self.data)

    def _given(self, *names: str) -> dict[str, Any]:
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def _refuse(self, why: str, *names: str) -> None:
        for name in self._given(*names):
            raise ValueError(f"--{name} does not go with --data {self.data}: {why}; leave --{name} out")
