"""From wishes to exponents: every way to meet them, or a proof that there is none."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from limits.desiderata.answer import Feasible, Impossible
from limits.desiderata.piece import Piece, piece
from limits.desiderata.question import FAMILIES, Question, given
from limits.desiderata.wishes import WISHES, Block, Disjunction, known
from limits.inequalities import Certificate, Constraint, Point, decide, implied
from limits.parametrization import Exact

Rows = tuple[Constraint, ...]
MOST_LAYERS = 7
"""With exponents of their own: each further layer doubles the terms and takes about five times as long, here ten seconds."""


def design(
    *wishes: str,
    block_depth: int = 1,
    centred: bool = True,
    tied: bool = False,
    free: Iterable[str] = FAMILIES,
    fixed: Mapping[str, Exact | Sequence[Exact]] | None = None,
) -> Feasible | Impossible:
    r"""Find the exponents that meet all wishes, or prove that none do.

    The wishes, in terms of the orders $e_S$ of a branch's terms in which the layers $S$ contribute their updates:

    - "stable": $e_S \le 0$ for every $S$;
    - "nontrivial": $e_S \ge 0$ for some $S \ne \emptyset$;
    - "faithful": $e_\emptyset \le 0$, $\beta_i = 0$ and $\gamma_i \ge 0$;
    - "feature-learning": stable, nontrivial and $\gamma_i \ge 0$;
    - "diverse": $\frac12 - \alpha - \sum_i \beta_i = 0$, which is $e_\emptyset = 0$ if the branch is centred;
    - "interacting": $e_S = 0$ for some $|S| \ge 2$;
    - "layerwise-nonlinear": a term of second or higher order in one block's updates has order zero or more;
    - "maximal": $e_{\{i\}} = 0$ for every layer $i$.

    Disjunctions are taken apart. What is left are linear programs over the rationals, which are decided exactly.

    Args:
        wishes: names from this list, with hyphens or underscores.
        block_depth: $k$, weight matrices in a block; at most 7 if they are not tied.
        centred: whether the branch has mean zero at initialization.
        tied: whether all layers of a block share one $\gamma$ and one $\beta$.
        free: which of "alpha", "gamma", "beta" to look for; $\beta$ is zero if it is not among them.
        fixed: exponents that are given: `{"beta": 0}`, `{"gamma": (0, "1/2")}`, `{"gamma": 0, "gamma_2": 1}`, in which the
            layer's own value counts.

    Raises:
        ValueError: an unknown wish or exponent, one that is neither free nor given, or too many layers.
        TypeError: wishes that are no text, or options of another type.

    >>> print(design("stable", "nontrivial", "faithful", "diverse"))
    possible: stable, nontrivial, faithful and diverse, only at Parametrization(alpha=1/2, gamma=1/2)
      alpha = 1/2, gamma = 1/2, beta = 0
    >>> print(design("stable", "diverse", "interacting", block_depth=2))
    impossible: stable, diverse and interacting exclude each other
      if interacting through S={1,2}
         1 times  stable during training for S={1}: 1 - alpha - gamma_1 - beta_2 <= 0
         1 times  stable during training for S={2}: 1 - alpha - gamma_2 - beta_1 <= 0
        -1 times  diverse:                          1/2 - alpha - beta_1 - beta_2 = 0
        -1 times  interacting through S={1,2}:      1 - alpha - gamma_1 - gamma_2 = 0
        add up to  1/2 <= 0
    """
    if not wishes:
        raise ValueError(f"there is nothing to design for: name wishes among {', '.join(WISHES)}")
    block = Block(block_depth, centred, tied)
    if block.depth > MOST_LAYERS and not block.tied:
        raise ValueError(
            f"design treats blocks of at most {MOST_LAYERS} layers with exponents of their own, got block_depth = {block.depth}: "
            "let them share one gamma and one beta, tied=True (--tied)"
        )
    question = Question(tuple(dict.fromkeys(map(known, wishes))), block, given(block, free, fixed or {}))
    if _possible(question):
        return _feasible(question)
    return _impossible(question)


def _feasible(question: Question) -> Feasible:
    systems = [rows for rows in _ways(question) if not isinstance(rows, Certificate)]
    found = {(p.equations, p.inequalities): p for rows in systems if isinstance(p := piece(rows, question.symbols), Piece)}
    kept: list[Piece] = []
    for p in sorted(found.values(), key=lambda p: -p.dimension):
        if not any(p.within(other) for other in kept):
            kept.append(p)
    answer = Feasible(question.parametrization(kept[0].point), tuple(kept), question)
    if not answer.holds():
        raise ArithmeticError(f"the search found exponents that do not meet the wishes:\n{answer}")
    return answer


def _impossible(question: Question) -> Impossible:
    core = question
    for name in question.wishes:
        fewer = replace(core, wishes=tuple(w for w in core.wishes if w != name))
        if not _possible(fewer):
            core = fewer
    certificates = tuple(found for found in _ways(core) if isinstance(found, Certificate))
    answer = Impossible(core.wishes, certificates, question)
    if not answer.holds():
        raise ArithmeticError(f"the search left a way open that it took for refuted:\n{answer}")
    return answer


def _possible(question: Question) -> bool:
    return any(not isinstance(found, Certificate) for found in _ways(question))


def _ways(question: Question) -> Iterator[Rows | Certificate]:
    """Every way to meet the disjunctions: its constraints if they can hold together, a certificate if not.

    A way is not followed further than to its first contradiction, nor through disjunctions that it meets already.
    """
    wish = question.wish()

    def follow(rows: Rows, disjunctions: Sequence[Disjunction], branch: Rows) -> Iterator[Rows | Certificate]:
        point = decide(rows, question.block.symbols)
        if isinstance(point, Certificate):
            yield replace(point, branch=branch)
        elif still := [d for d in disjunctions if not _met(d, rows, point)]:
            for alternative in still[0]:
                yield from follow((*rows, alternative), still[1:], (*branch, alternative))
        else:
            yield rows

    yield from follow(wish.constraints, wish.disjunctions, ())


def _met(disjunction: Disjunction, rows: Rows, point: Point) -> bool:
    """Whether one alternative holds wherever the rows do, as it then does at the point."""
    return any(c.holds(point) and implied(rows, c) for c in disjunction)
