r"""Sorting the parameters of a model into parts, by the axes that grow and the modules that hold them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from limits.pytorch.axes import Shape, letters_of, shape_of
from limits.pytorch.blocks import Blocks
from limits.pytorch.names import compiled
from limits.pytorch.parts import Part, UnknownPartError
from limits.scaling import ROLES

ADDED = ("input", "vector", "bias", "norm")
"""Roles of what sums over a finite number of inputs."""


def parts_of(model: Any, base: Any, delta: Any, blocks: Blocks, overrides: Mapping[str, Any]) -> tuple[Part, ...]:
    """The parts of all parameters of a model; frozen ones of unknown part are left out.

    Raises:
        UnknownPartError: a parameter that its shape does not place, with what to write in `overrides`.
        ValueError: models that do not match, or an override that names no parameter.
    """
    named = {which: _named(m) for which, m in (("base", base), ("delta", delta), ("model", model))}
    given = _overrides(overrides, named["model"])
    kinds = {which: blocks.kinds(m) for which, m in (("base", base), ("delta", delta), ("model", model))}
    groups: dict[int, list[str]] = {}
    for name, parameter in named["model"].items():
        groups.setdefault(id(parameter), []).append(name)
    found = (_Question(model, tuple(names), named, kinds, blocks, given).part() for names in groups.values())
    parts = tuple(part for part in found if part is not None)
    if not any(part.shape.growing for part in parts):
        raise ValueError(
            "no axis of any parameter differs between base and delta: delta must be a model of another width than base"
        )
    return parts


def _named(model: Any) -> dict[str, Any]:
    from torch.nn.parameter import UninitializedParameter

    named = dict(model.named_parameters(remove_duplicate=False))
    if lazy := [name for name, p in named.items() if isinstance(p, UninitializedParameter)]:
        raise ValueError(f"{lazy[0]} has no shape yet: pass one batch through the model before its parameters are sorted")
    return named


def _overrides(overrides: Mapping[str, Any], named: Mapping[str, Any]) -> dict[str, tuple[str, str | None]]:
    """By parameter: role, and letters if they were given."""
    found: dict[str, tuple[str, str | None]] = {}
    for pattern, value in overrides.items():
        pair: tuple[Any, Any] = tuple(value) if isinstance(value, tuple | list) and len(value) == 2 else (value, None)
        role, letters = pair
        if re.sub(r"^(hidden|bias) \d+$", r"\1", str(role)) not in ROLES:
            raise ValueError(f"overrides[{pattern!r}] must be one of {', '.join(ROLES)}, got {role!r}")
        names = [name for name in named if compiled(pattern).fullmatch(name)]
        if not names:
            raise ValueError(
                f"overrides[{pattern!r}] names no parameter of the model: they are called {', '.join(list(named)[:5])}, ..."
            )
        found |= dict.fromkeys(names, (role, letters))
    return found


@dataclass(frozen=True)
class _Question:
    """One parameter of a model, by all of its names, and what is known about it."""

    model: Any
    names: tuple[str, ...]
    named: Mapping[str, Mapping[str, Any]]
    kinds: Mapping[str, Mapping[str, Any]]
    blocks: Blocks
    overrides: Mapping[str, tuple[str, str | None]]

    @property
    def name(self) -> str:
        return self.names[0]

    def part(self) -> Part | None:
        parameter = self.named["model"][self.name]
        counterpart, delta = (self._counterpart(which) for which in ("base", "delta"))
        shape = shape_of(self.name, parameter, self.named["base"][counterpart], self.named["delta"][delta])
        inside = self._inside()
        try:
            role, letters = self._given(shape) or (
                self._tied(shape) if len(self.names) > 1 else self._alone(self.name, shape, inside)
            )
        except UnknownPartError:
            if parameter.requires_grad:
                raise
            return None
        fans = shape.ratio(letters, "i"), shape.ratio(letters, "o")
        return Part(self.name, self.names, shape, role, inside, letters, *fans, parameter.requires_grad, counterpart)

    def _counterpart(self, which: str) -> str:
        known = self.named[which]
        found = self.blocks.counterpart(self.name, known, (self.kinds["model"], self.kinds[which]))
        if found is None:
            raise ValueError(
                f"{self.name} has no counterpart in the {'delta model' if which == 'delta' else which}: base, delta and model "
                'must have the same parts, and may differ in the number of blocks if these are named, such as blocks="layers.*"'
            )
        if (shared := len(self.names) > 1) != (sum(p is known[found] for p in known.values()) > 1) and not self.blocks.hold(
            self.name
        ):
            raise ValueError(
                f"{self.name} is {'' if shared else 'not '}shared in the model, but {'not ' if shared else ''}in {which}"
            )
        return found

    def _inside(self) -> bool:
        held = {self.blocks.hold(name) for name in self.names}
        if len(held) > 1 or (held == {True} and len(self.names) > 1):
            self._refuse(
                "is one parameter shared by residual blocks, and the rules of depth are for blocks with weights of their own"
            )
        return held.pop()

    def _given(self, shape: Shape) -> tuple[str, str] | None:
        """What the user says; letters are needed only where the ratios of the axes leave a choice."""
        given = next((self.overrides[name] for name in self.names if name in self.overrides), None)
        if given is None:
            return None
        role, letters = given
        letters = letters or self._letters_as(role, shape)
        if letters is None or len(letters) != len(shape.axes) or set(letters) - set("oi."):
            pair = "oi" if len(shape.axes) > 1 else "i"
            self._refuse(
                f"has {shape}, and is said to be {role!r}: say with a letter an axis: outputs o, inputs i, neither .",
                f'("{role}", "{"." * (len(shape.axes) - 2)}{pair}")',
            )
        self._refuse_role(role, shape, letters)
        return role, letters

    def _letters_as(self, role: str, shape: Shape) -> str | None:
        """The letters of a parameter of that role: those of its module, if it says what is summed over, or those of the role."""
        known = None if role == "tied" else self._letters(self.names[-1], shape)
        if known is not None and "i" in known:
            return known
        named = _letters_for(role, shape)
        return named if named or role.startswith("hidden") else known

    def _refuse_role(self, role: str, shape: Shape, letters: str) -> None:
        """Refuse a role whose sums are over other axes."""
        into, out = shape.grows(letters, "i"), shape.grows(letters, "o")
        if not role.startswith("hidden") and into and out:
            self._refuse(f'is said to be {role!r}, but its inputs and its outputs grow ({shape}), which makes it "hidden"')
        if role in ("output", "tied") and out:
            self._refuse(f"is said to be {role!r}, and its outputs grow ({shape})", '"input"')
        if role in ADDED and into and not _is_embedding(_owner(self.model, self.name)[0]):
            self._refuse(f"is said to be {role!r}, and sums over inputs that grow ({shape})", '"output"')

    def _tied(self, shape: Shape) -> tuple[str, str]:
        roles = {self._alone(name, shape, False)[0] for name in self.names}
        if roles != {"input", "output"}:
            self._refuse(f"is shared by {', '.join(self.names)}, and only an embedding that is the readout too is known")
        return "tied", self._letters(self._readout(), shape) or ""

    def _readout(self) -> str:
        """The name under which a tied parameter is a readout."""
        from torch import nn

        return next(name for name in self.names if not isinstance(_owner(self.model, name)[0], nn.Embedding | nn.EmbeddingBag))

    def _letters(self, name: str, shape: Shape) -> str | None:
        return letters_of(*_owner(self.model, name), shape)

    def _alone(self, name: str, shape: Shape, inside: bool) -> tuple[str, str]:
        """Role and letters of a parameter by one of its names."""
        letters = self._letters(name, shape)
        if letters is None:
            self._refuse(*_unplaced(shape))
        if shape.grows(letters, "."):
            self._refuse(f"grows along an axis that is neither inputs nor outputs ({shape})")
        if "i" not in letters:
            return self._vector(name, inside), letters
        into, out = shape.grows(letters, "i"), shape.grows(letters, "o")
        if _is_embedding(_owner(self.model, name)[0]) and (into or inside):
            why = (
                "whose number of entries grows"
                if into
                else "inside of a residual block, where embeddings have no factor of depth"
            )
            self._refuse(f'is an embedding {why} ({shape}); if it belongs to a branch, it is a "bias"', '"bias"')
        if into and not out and inside:
            self._refuse(f"makes a finite number of features of growing ones inside of a residual block ({shape})", '"hidden"')
        if into and out:
            return "hidden", letters
        if inside:
            return ("bias" if out else "hidden"), letters
        return ("output" if into else "input" if out else "vector"), letters

    def _vector(self, name: str, inside: bool) -> str:
        module, own = _owner(self.model, name)
        if _is_norm(module):
            return "norm" if inside else "vector"
        if inside:
            return "bias"
        weight = f"{name[: -len(own)]}weight"
        return "output bias" if own == "bias" and self._is_readout(weight) else "vector"

    def _is_readout(self, weight: str) -> bool:
        parameter = self.named["model"].get(weight)
        if parameter is None:
            return False
        names = tuple(n for n, p in self.named["model"].items() if p is parameter)
        try:
            part = _Question(self.model, names, self.named, self.kinds, self.blocks, self.overrides).part()
        except UnknownPartError:
            return False
        return part is not None and part.role in ("output", "tied")

    def _refuse(self, why: str, value: str = '"hidden"') -> NoReturn:
        raise UnknownPartError(f'{self.name} {why}: write overrides={{"{self.name}": {value}}}, with any of {", ".join(ROLES)}')


def _unplaced(shape: Shape) -> tuple[str, str]:
    if len(shape.growing) == 1:
        hint = "an embedding (of positions, say) is input, what is multiplied with the features is output"
        return f"is held by no module that says what its axes are ({shape}); {hint}", '"input"'
    letters = "." * (len(shape.axes) - 2) + "oi"
    why = f"is held by no module that says what its axes are ({shape}); give one letter an axis: outputs o, inputs i, neither ."
    return why, f'("hidden", "{letters}")'


def _letters_for(role: str, shape: Shape) -> str | None:
    """Letters that do not matter, or follow from the role."""
    growing = shape.growing
    if role.startswith("hidden"):
        pair = len(growing) == 2 and shape.axes[growing[0]].ratio == shape.axes[growing[1]].ratio
        return (
            "".join("o" if k == growing[0] else "i" if k == growing[1] else "." for k in range(len(shape.axes))) if pair else None
        )
    if len(growing) > 1:
        return None
    return "".join(("i" if role in ("output", "tied") else "o") if axis.grows else "." for axis in shape.axes)


def _owner(model: Any, name: str) -> tuple[Any, str]:
    """The module that holds a parameter, and the name there."""
    path, _, own = name.rpartition(".")
    return model.get_submodule(path), own


def _is_embedding(module: Any) -> bool:
    from torch import nn

    return isinstance(module, nn.Embedding | nn.EmbeddingBag)


def _is_norm(module: Any) -> bool:
    from torch import nn
    from torch.nn.modules.batchnorm import _NormBase

    return isinstance(module, _NormBase | nn.LayerNorm | nn.GroupNorm) or "norm" in type(module).__name__.lower()
