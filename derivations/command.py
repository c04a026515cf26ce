"""How a study is run from the command line."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any


def run(
    arguments: Sequence[str],
    about: str | None,
    sizes: Any,
    quick: Any,
    count: tuple[str, str],
    *,
    study: Callable[..., Any],
    table: Callable[[Any], str],
    plot: Callable[[Any, str], Any],
) -> None:
    """Run a study, print its table, and draw it if asked.

    Args:
        arguments: of the command line.
        about: what the module says of itself; its first line describes the command.
        sizes, quick: of the study, and of its check.
        count: which of the sizes may be given, and what it counts.
        study: from sizes to what is found; `say` takes its progress.
        table, plot: what is found as text, and as a figure in a file.
    """
    name, what = count
    usual = getattr(sizes, name)
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the reduced size of the check")
    parser.add_argument(f"--{name}", type=int, default=usual, help=f"{what}  [default: {usual}]")
    parser.add_argument("--out", help="figure to write")
    options = parser.parse_args(arguments)
    asked = quick if options.quick else replace(sizes, **{name: getattr(options, name)})
    found = study(asked, say=lambda text: print(text, file=sys.stderr, flush=True))
    print(table(found))
    if options.out:
        plot(found, options.out)
        print(f"wrote {options.out}", file=sys.stderr)
