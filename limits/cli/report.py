"""Options that say where the answer goes, and its printing, saving and progress."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

import limits
from limits.cli.question import ANSWER
from limits.cli.sentences import INTERRUPTED, note

if TYPE_CHECKING:
    from limits.problem import Problem
    from limits.record import Record
    from limits.trajectory import Trajectory

Progress = Callable[[int, int], None]
PATIENCE = 2.0
"""Seconds after which a run shows a progress bar."""
ROWS = 25
"""Steps shown of a long run."""
WIDTH = 120
"""Columns of a table that goes to no terminal."""


@dataclass(frozen=True)
class Report:
    """Where the answer goes; `asked` are the options of the whole command."""

    as_json: Annotated[
        bool, Option("--json", help="Print one JSON object, and nothing else, on stdout.", rich_help_panel=ANSWER)
    ] = False
    out: Annotated[
        Path | None, Option(help="Also write the answer to this folder.", rich_help_panel=ANSWER, metavar="FOLDER")
    ] = None
    asked: Mapping[str, Any] = field(default_factory=dict)

    def opening(self, command: str, stopped: bool = False) -> dict[str, Any]:
        """What every answer in JSON begins with: enough to ask again."""
        return {"limits": limits.__version__, "command": command, "partial": stopped, "asked": plain(self.asked)}

    def say(self, value: Mapping[str, Any], readable: Callable[[], object]) -> None:
        """Print the answer, as JSON or for reading."""
        if self.as_json:
            typer.echo(json.dumps(value, allow_nan=False))
        elif isinstance(text := readable(), str):
            typer.echo(text)
        else:
            from rich.console import Console

            console = Console(highlight=False)
            console.print(text, width=None if console.is_terminal else WIDTH)

    def folder(self) -> Path | None:
        """The folder of --out, made if need be, before anything long is begun."""
        try:
            if self.out is not None:
                self.out.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise ValueError(f"--out must be a folder that can be written to, got {str(self.out)!r}: {fault.strerror}") from None
        if self.out is not None and not os.access(self.out, os.W_OK):
            raise ValueError(f"--out must be a folder that can be written to, got {str(self.out)!r}")
        return self.out

    def trajectory(self, command: str, problem: "Problem", kernels: int, run: Callable[..., "Trajectory"]) -> None:
        """Ask a rung, print its trajectory and write `<command>.npz` and `<command>.json`."""
        folder, record = self.folder(), first_samples(kernels)
        answer, stopped = finished(command, lambda progress: run(problem, record=record, progress=progress))
        value = self.opening(command, stopped) | trajectory_json(answer)
        self.say(value, lambda: trajectory_table(command, answer))
        if folder is not None:
            written(answer.save(folder / f"{command}.npz"), write_json(folder / f"{command}.json", value))
        if stopped:
            note(f"interrupted; kept, and marked partial: {answer!r}")
            raise typer.Exit(INTERRUPTED)


def first_samples(count: int) -> "Record":
    """A record of the feature kernel of the first samples, or of nothing: all samples of a long run would fill the memory."""
    from limits.record import Record
    from limits.validation import whole

    return Record(samples=range(count)) if whole(count, "--kernels", low=0) else Record(kinds=())


def swept(command: str, run: Callable[[Progress], Any], folder: Path | None, what: str) -> Any:
    """The answer of a sweep whose runs are kept in a folder; one that is interrupted says where it goes on."""
    try:
        return finished(command, run, window=3600.0)[0]
    except KeyboardInterrupt:
        if folder is None:
            raise
        note(f"interrupted; the {what} that were finished are in {folder}, and the same command goes on there")
        raise typer.Exit(INTERRUPTED) from None


def finished(command: str, run: Callable[[Progress], Any], window: float = 30.0) -> tuple[Any, bool]:
    """The answer of `run(progress)`, or what was done of it before Ctrl-C, and whether it was stopped; `window` as of the bar."""
    try:
        with progress_bar(f"limits {command}", window) as progress:
            return run(progress), False
    except KeyboardInterrupt as stop:
        if (partial := getattr(stop, "partial", None)) is None:
            raise
        return partial, True


@contextmanager
def progress_bar(label: str, window: float = 30.0) -> Iterator[Progress]:
    """A bar on stderr for what lasts longer than two seconds; none where stderr is no terminal.

    The time left is judged by the last `window` seconds: where single reports are further apart it takes a longer one.
    """
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if not (console.file.isatty() and console.is_interactive):
        yield lambda done, total: None
        return
    bar = Bar(console=console, transient=True, speed_estimate_period=window)
    task = bar.add_task(label, total=None)
    timer = Timer(PATIENCE, bar.start)
    timer.daemon = True
    timer.start()
    try:
        yield lambda done, total: bar.update(task, completed=done, total=total)
    finally:
        timer.cancel()
        timer.join()
        bar.stop()


def plain(value: Any) -> Any:
    """`value` in terms of JSON: arrays as lists, fractions as text, what is not finite as null."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return value if value - value == 0 else None
    return str(value) if isinstance(value, Fraction | Path) else value


def trajectory_json(answer: "Trajectory") -> dict[str, Any]:
    """What a trajectory says about training, without its kernels (they are in the `.npz`)."""
    problem = answer.problem
    names = ("losses", "batch_losses", "accuracy", "probe_losses", "probe_accuracy", "outputs", "error", "diverged")
    sizes = {
        "samples": problem.n_samples,
        "probes": len(problem.evaluated) - problem.n_samples,
        "d_in": problem.d_in,
        "d_out": problem.d_out,
    }
    return plain({"sizes": sizes, "meta": answer.meta} | {name: getattr(answer, name) for name in names})


def trajectory_table(command: str, answer: "Trajectory") -> Any:
    """Training step by step, as a rich table."""
    from rich.table import Table

    columns = _columns(answer)
    sizes = ", ".join(f"{k} {answer.meta[k]}" for k in ("width", "blocks", "seeds") if answer.meta.get(k) is not None)
    table = Table(title=f"limits {command}{': ' if sizes else ''}{sizes}", title_justify="left")
    for name in ("step", *columns):
        table.add_column(name, justify="right")
    last = len(answer.losses) - 1
    stride = -(-last // ROWS) or 1
    for t in [*range(0, last, stride), last]:
        table.add_row(str(t), *(f"{v[t]:.2g}" if "error" in name else f"{v[t]:.6g}" for name, v in columns.items()))
    return table


def _columns(answer: "Trajectory") -> dict[str, Any]:
    import numpy as np

    error = np.abs(answer.error).max((1, 2))
    columns = {
        "loss": answer.losses,
        "accuracy": answer.accuracy,
        "probe loss": answer.probe_losses,
        "probe accuracy": answer.probe_accuracy,
        "rms output": np.sqrt(np.mean(answer.outputs**2, axis=(1, 2))),
        "standard error" if answer.samples is not None else "error": error if np.any(error > 0) else None,
    }
    return {name: values for name, values in columns.items() if values is not None}


def write_json(path: Path, value: Mapping[str, Any]) -> Path:
    """Write JSON atomically."""
    from limits.trajectory import write_atomically

    write_atomically(path, lambda file: file.write(json.dumps(value, allow_nan=False, indent=1).encode() + b"\n"))
    return path


def written(*paths: Path) -> None:
    """Say which files there are now."""
    note(f"wrote {' and '.join(map(str, paths))}")
