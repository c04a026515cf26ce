"""What answers look like at a prompt: a line or two that name the class and say the verdict; printing tells the rest."""

import pickle
from dataclasses import fields, is_dataclass

import numpy as np
import pytest

from limits import (
    COMPLETEP,
    DEPTH_MUP,
    SGD,
    Parametrization,
    PhaseDiagram,
    Problem,
    Regime,
    ResNet,
    Scaling,
    Size,
    classify,
    compare,
    finite_size,
    ladder,
    phase_diagram,
    scale,
    scaling,
)
from limits.markup import COLUMNS, LONGEST, brief, columns, listed

PROBLEM = Problem(ResNet(), DEPTH_MUP, SGD(1.0, steps=2), [[1.0]], [[1.0]])
TWO_LAYERS = Problem(ResNet("tanh", 2, form="mlp"), COMPLETEP, SGD(0.5, steps=1), [[1.0]], [[1.0]])
SIZES = [(32, 128, 4), (64, 32, 8), (64, 64, 16), (64, 128, 4)]


@pytest.fixture(scope="module")
def answers():
    """One of everything that a public function of these rooms returns, by class."""
    regime, diagram = classify(Parametrization(1, (0, 0, "1/2")), block_depth=3), phase_diagram(block_depth=3)
    table = scale("width=256,blocks=4,batch=32,steps=100", "width=1024,blocks=16,batch=64,steps=200")
    rungs = ladder(PROBLEM, widths=(8, 16), blocks=(2, 4, 8, 16, 32), finite_blocks=4, seeds=3)
    moved = compare.transfer(PROBLEM, blocks=(4, 8), lrs=2.0 ** np.arange(-3, 3), rung="finite", width=16, seeds=8)
    check = compare.measure_exponents(PROBLEM, width=8, blocks=(4, 8, 16), seeds=4)
    model = finite_size.error_model(TWO_LAYERS, sizes=SIZES, seeds=8, tol=1e-3)
    found = [regime, regime.steps[0], diagram, diagram.regions[0], table, table["hidden"], table["hidden"].lr, table.base]
    found += [rungs, rungs.depth_law(), moved, moved.curves[0], moved.optima()[4], moved.drift(), check, check.rows[0]]
    found += [model, model.networks[0], model.limit, model.constant("1/L"), model.cheapest(0.5), model.hold(32, 32, 4, seeds=2)]
    return {type(one): one for one in found}


def short(text):
    lines = text.splitlines()
    return 1 <= len(lines) <= 6 and max(map(len, lines)) <= COLUMNS and " at 0x" not in text and "array(" not in text


def test_no_answer_is_a_wall_of_text(answers):
    long = {kind.__name__: repr(one) for kind, one in answers.items() if not short(repr(one))}
    assert not long
    assert all(repr(one).startswith(f"{kind.__name__}(") for kind, one in answers.items())


def test_every_public_class_of_these_rooms_is_among_them(answers):
    """One that is added is looked at here too; what is missing is raised, or refuses a run, and has a line of its own."""
    rooms = [getattr(room, name) for room in (compare, scaling, finite_size) for name in room.__all__]
    public = {one for one in [*rooms, Regime, PhaseDiagram, Scaling, Size] if isinstance(one, type)}
    assert {one.__name__ for one in public - set(answers)} == {"Unanswered"}


def test_the_line_says_what_was_found(answers):
    said = {kind.__name__: repr(one) for kind, one in answers.items()}
    assert said["Regime"] == "Regime(redundant: Parametrization(alpha=1, gamma=(0, 0, 1/2)), block_depth=3)"
    assert "error ~ L^-" in said["Ladder"]
    assert "sqrt(D/(LM))" in said["ErrorModel"]
    assert "4 sizes" in said["ErrorModel"]
    assert said["Transfer"].startswith("Transfer(finite, L = 4, 8, 6 learning rates")
    assert f"k = {answers[Scaling].block_depth}: redundant" in said["Scaling"]


def test_printing_tells_the_rest(answers):
    for kind in (compare.Ladder, compare.Transfer, compare.ExponentCheck, finite_size.ErrorModel):
        assert str(answers[kind]) == answers[kind].table()
        assert str(answers[kind]).count("\n") > repr(answers[kind]).count("\n")
    assert str(answers[Regime]).startswith(answers[Regime].name + "\n")


def test_answers_are_equal_and_pickled_as_before(answers):
    for kind in (Regime, PhaseDiagram, Scaling, Size, scaling.Row, scaling.Cell):
        assert pickle.loads(pickle.dumps(answers[kind])) == answers[kind]
        assert all(f.compare for f in fields(answers[kind]))
    best = pickle.loads(pickle.dumps(answers[compare.Optimum]))
    assert len(best.resampled) == 1000
    assert best != answers[compare.Optimum]  # arrays: by identity
    assert is_dataclass(best)


@pytest.fixture
def torch():
    """PyTorch in one thread, in which small models are fastest where processors are shared."""
    library = pytest.importorskip("torch")
    before = library.get_num_threads()
    library.set_num_threads(1)
    yield library
    library.set_num_threads(before)


def test_models_of_pytorch_too(torch):
    from audit_models import asked

    from limits import pytorch

    def make(width):
        return torch.nn.Sequential(*(torch.nn.Linear(width, width) for _ in range(100)), torch.nn.Linear(width, 3))

    plan = pytorch.plan(make(64), base=lambda: make(16), delta=lambda: make(32))
    audit = pytorch.coordinate_check(**asked("mlp", widths=(32, 64), blocks=(2, 4), seeds=3))
    answers = {type(one): one for one in [plan, plan.parts[0], audit, audit.findings[0], audit.traps[0], audit.findings[0].law]}
    assert {repr(one): short(repr(one)) for one in answers.values()} == dict.fromkeys(map(repr, answers.values()), True)
    public = {one for one in (getattr(pytorch, name) for name in pytorch.__all__) if isinstance(one, type)}
    assert {one.__name__ for one in public - set(answers)} == {"UnknownPartError"}
    assert repr(plan).startswith("Plan(1 blocks -> 1, adamw; residual branches x 1; 202 parameters: ")
    assert str(plan).count("\n") > 200


# How lines are written.


def test_long_values_go_on_in_a_new_line_and_long_parts_are_cut():
    said = listed("Name", ["x" * 200, *("y" * 50 for _ in range(4))]).splitlines()
    assert said[0] == f"Name({'x' * (LONGEST - 1)}…,"
    assert said[1:] == [f"    {'y' * 50}, {'y' * 50},", f"    {'y' * 50}, {'y' * 50})"]
    assert listed("Name", []) == "Name()"


def test_fields_are_shown_by_their_kind():
    from dataclasses import make_dataclass

    values = {
        "array": np.zeros((2, 3)),
        "number": np.float64(1 / 3),
        "whole": 12345678,
        "one": (1.0,),
        "many": tuple(range(50)),
        "mapping": {"a": 0.1234567},
        "nothing": None,
        "text": "it's",
        "scalar": np.array(2.0),
    }
    one = make_dataclass("One", values, namespace={"__repr__": brief})(**values)
    assert repr(one) == (
        "One(array=shape (2, 3), number=0.3333, whole=12345678, one=(1,), many=50 of them, mapping={'a': 0.1235}, nothing=None,\n"
        '    text="it\'s", scalar=2)'
    )


def test_columns_are_as_wide_as_their_widest_entry():
    assert columns([("a", "bcd", ""), ("efg", "h", "i")]).splitlines() == ["a    bcd", "efg  h    i"]
