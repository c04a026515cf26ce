r"""Which parameters lie in residual blocks, and how many blocks there are, in a base and in the model.

Only the ratio $m_L$ = blocks of the model over blocks of the base enters, never the number of blocks itself. A block is one
residual branch, so a transformer layer (attention and MLP) is two of them; where both models are counted in layers, the ratio
is the same.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from limits.pytorch.names import Patterns, matches, patterns, split, within


@dataclass(frozen=True)
class Blocks:
    """Residual blocks: patterns of what lies inside them, patterns of their branches, and their number in base and model."""

    inside: tuple[str, ...]
    branches: tuple[str, ...]
    base: int
    target: int

    @property
    def ratio(self) -> Fraction:
        """$m_L$, target over base."""
        return Fraction(self.target, self.base)

    def hold(self, name: str) -> bool:
        """Whether a parameter lies inside a residual block."""
        return within(name, (*self.inside, *self.branches))

    def kinds(self, model: Any) -> dict[str, tuple[tuple[str, str], ...]]:
        """What every block and branch of a model is made of: the classes of its modules, by their names in it."""
        wanted = (*self.branches, *self.inside)
        return {name: _structure(module) for name, module in model.named_modules() if matches(name, wanted)}

    def counterpart(
        self, name: str, known: Iterable[str], kinds: tuple[Mapping[str, Any], Mapping[str, Any]] = ({}, {})
    ) -> str | None:
        """The parameter of another model that plays this part: of the same name, or of the block at the same height.

        Where blocks are of several kinds, it is one of the same kind, if there is one: `kinds` are those of both models.
        """
        known = tuple(known)
        for pattern in (*self.branches, *self.inside):
            if (here := split(name, pattern)) is not None:
                stars, rest = here
                ends = ((other, split(other, pattern)) for other in known if other.endswith(rest))
                there = [(other, found[0]) for other, found in ends if found and found[1] == rest]
                kind = kinds[0].get(_held(name, rest))
                there = [pair for pair in there if kinds[1].get(_held(pair[0], rest)) == kind] or there
                if there and not any(other == name for other, _ in there):
                    return min(there, key=lambda pair: _distance(stars, pair[1], float(self.ratio)))[0]
        return name if name in known else None


def _structure(module: Any) -> tuple[tuple[str, str], ...]:
    return tuple((name, type(part).__qualname__) for name, part in module.named_modules())


def _held(name: str, rest: str) -> str:
    """The block of a parameter, of whose name the rest is the part inside of it."""
    return name[: len(name) - len(rest)].rstrip(".")


def _distance(stars: tuple[str, ...], others: tuple[str, ...], ratio: float) -> tuple[int, float]:
    """How unlike two blocks are: in how many parts of the name but the last that differs, and how far apart in height."""
    apart = [(a, b) for a, b in zip(stars, others, strict=True) if a != b]
    if not apart or not all(text.isdecimal() for text in apart[-1]):
        return len(apart), 0.0
    here, there = apart[-1]
    return len(apart), abs(int(here) / ratio - int(there))


def find_blocks(model: Any, base: Any, blocks: Any, branches: Patterns, counts: Any) -> Blocks:
    """Blocks as the user names or counts them, or those in which base and model differ.

    Raises:
        ValueError: patterns that match nothing, one number where two are needed, or layers beside blocks.
        TypeError: no patterns and no pair of numbers.
    """
    if blocks is not None and _numbers(blocks):
        if counts is not None:
            raise ValueError(f"blocks={blocks!r} are numbers, and so are counts={counts!r}: give one of them")
        blocks, counts = None, blocks
    inside = tuple(_expanded(model, p, sequential=True) for p in patterns(blocks, "blocks"))
    names = tuple(_expanded(model, p, sequential=False) for p in patterns(branches, "branches"))
    given = None if counts is None else _pair(counts, model, base, names or inside)
    if not inside and not names:
        inside = discovered(model, base)
    found = tuple(_count(which, inside, names, where) for where, which in (("the base", base), ("the model", model)))
    if not inside and not names and given is not None and given[0] != given[1]:
        raise ValueError(
            f"there are {given[0]} blocks in the base and {given[1]} in the model, but nothing says which parameters lie in "
            'them: name the modules, such as blocks="layers.*" or branches=("layers.*.attention", "layers.*.mlp")'
        )
    if given is not None and (inside or names):
        _same_ratio(given, found)
    return Blocks(inside, names, *(given or found))


def _numbers(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, list | tuple) and bool(value) and all(isinstance(v, int) for v in value))


def _pair(counts: Any, model: Any, base: Any, wanted: tuple[str, ...]) -> tuple[int, int]:
    if isinstance(counts, int):
        seen = f"; {wanted} matches {_matched(base, wanted)} and {_matched(model, wanted)} modules" if wanted else ""
        raise ValueError(
            f"blocks must be counted in the base and in the model, as a pair, got the one number {counts}: depth enters only as "
            f"the ratio of the two, never as the number of blocks itself{seen}"
        )
    if not (isinstance(counts, list | tuple) and len(counts) == 2 and all(isinstance(c, int) and c >= 1 for c in counts)):
        raise ValueError(f"blocks must be counted as a pair (base, model) of positive whole numbers, got {counts!r}")
    return counts[0], counts[1]


def _same_ratio(given: tuple[int, int], found: tuple[int, ...]) -> None:
    """Numbers may count layers of several blocks, but in both models alike."""
    if Fraction(given[1], given[0]) == Fraction(found[1], found[0]):
        return
    layers = given[0] == found[0] or given[1] == found[1]
    why = (
        "one of them counts layers and the other residual blocks (a transformer layer is two)"
        if layers
        else "it is another depth"
    )
    raise ValueError(
        f"blocks are counted as {given[0]} in the base and {given[1]} in the model, a ratio of {given[1] / given[0]:g}, but "
        f"the modules named are {found[0]} and {found[1]}, a ratio of {found[1] / found[0]:g}: {why}; leave the "
        f"numbers out, or give {found}"
    )


def _expanded(model: Any, pattern: str, *, sequential: bool) -> str:
    """The path of a list of modules stands for its entries."""
    from torch import nn

    kinds = (nn.ModuleList, nn.Sequential) if sequential else (nn.ModuleList,)
    module = dict(model.named_modules()).get(pattern)
    return f"{pattern}.*" if isinstance(module, kinds) else pattern


def _matched(model: Any, wanted: tuple[str, ...]) -> int:
    return sum(matches(name, wanted) for name, _ in model.named_modules(remove_duplicate=False))


def _count(model: Any, inside: tuple[str, ...], branches: tuple[str, ...], where: str) -> int:
    for pattern in (*inside, *branches):
        if not _matched(model, (pattern,)):
            children = ", ".join(name for name, _ in model.named_children())
            raise ValueError(f"{pattern!r} names no module of {where}, whose children are {children}: name its residual blocks")
    nested = [n for n, _ in model.named_modules() if matches(n, branches) and any(_below(n, other) for other in branches)]
    if nested:
        raise ValueError(f"the branch {nested[0]!r} lies inside another branch, and would be multiplied twice: name one of them")
    return _matched(model, branches or inside) or 1


def _below(name: str, pattern: str) -> bool:
    found = split(name, pattern)
    return found is not None and bool(found[1])


def discovered(model: Any, base: Any) -> tuple[str, ...]:
    """Lists of modules that are longer or shorter in the base: patterns of their entries, outermost lists only."""
    from torch import nn

    modules = dict(base.named_modules())
    found: list[str] = []
    for name, module in model.named_modules():
        other = modules.get(name)
        if not isinstance(module, nn.ModuleList | nn.Sequential) or not isinstance(other, nn.ModuleList | nn.Sequential):
            continue
        if len(module) != len(other) and not within(name, found):
            found.append(f"{name}.*" if name else "*")
    return tuple(found)
