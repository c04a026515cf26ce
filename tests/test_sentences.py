"""Arguments of a wrong type, as a user meets them: without the run-time type checks that the tests switch on.

One fresh interpreter tries them all. Every error is a sentence that names the argument.
"""

import json
import re
import subprocess
import sys

import pytest

SETUP = """
import numpy as np
import limits
from limits import Muon, compare, finite, ladder, simulate, sweeps
from limits import Problem, ResNet, SGD, Record, Parametrization, DEPTH_MUP, recurse, solve, classify
from limits import conditions, decode, design, diversity, nngp, ntk, phase_diagram, plots, raw_exponents
one = Problem(ResNet(), DEPTH_MUP, SGD(1.0, steps=2), [[1.0]], [[1.0]])
"""

FINE = [
    "recurse(one, blocks=np.int64(4))",
    "Record(positions=np.linspace(0, 1, 3), steps=np.arange(2), samples=range(1), kinds='feature')",
    "recurse(one, blocks=4, record=Record(positions=np.linspace(0, 1, 3), steps=[0], samples=np.array([0])))",
    "SGD(np.float32(0.5), steps=np.int64(3), momentum=0)",
    "SGD(np.full(3, 0.5), steps=3, input_lr=[0, 0, 1])",
    "ResNet(multiplier=1)",
    "ResNet('tanh', layer_norm=np.bool_(True), mean_subtraction=False)",
    "Problem(ResNet(), DEPTH_MUP, SGD(1, steps=1), [[1]], [[1]], batches=np.zeros((1, 1), int))",
    "Problem(ResNet(), DEPTH_MUP, SGD(1, steps=1), [[1]], [[1]], batches=(b for b in [[0]]))",
    "Parametrization(np.int32(1), np.float64(0.5))",
    "Parametrization('−1/2', 10**99)",
    "classify(DEPTH_MUP, block_depth=np.int64(2), centred=np.bool_(False))",
    "decode({'optimizer': ' Adam ', 'multiplier': 'L^−1/2', 'k': '2'})",
]

WRONG = [
    ("classify(0.5, 0.5)", "TypeError", r'too many positional arguments: write classify\(Parametrization\("1/2", "1/2"\)\)'),
    ("classify(0.5)", "TypeError", "parametrization must be a Parametrization, got 0.5: write Parametrization"),
    ("recurse(one, 64)", "TypeError", r"too many positional arguments: write recurse\(problem, blocks=64\)"),
    ("simulate(one, 64, 16)", "TypeError", r"too many positional arguments: write simulate\(problem, width=64, blocks=16\)"),
    ("simulate(one, width=64)", "TypeError", r"missing a required .*'blocks': write simulate\(problem, width=64"),
    ("solve(one, 1e-6)", "TypeError", r"too many positional arguments: write solve\(problem, tol=1e-6\)"),
    ("recurse(one)", "TypeError", r"missing a required .*'blocks': write recurse\(problem, blocks=64\)"),
    ("limits.estimate(one, width=64)", "TypeError", 'missing a required .*\'rung\': write .*"simulate".*"recurse".*"solve"'),
    ("limits.estimate(one, 'wide')", "ValueError", "rung must be one of simulate, recurse, solve, got 'wide'"),
    ("Problem(ResNet(), DEPTH_MUP, SGD(1.0, 1), [[1.0]], [1.0])", "ValueError", r"write targets\[:, None\] for one dimension"),
    ("recurse(one, blocks=2.5)", "ValueError", "blocks must be a whole number >= 1, got 2.5"),
    ("recurse(one, blocks=True)", "ValueError", "blocks must be a whole number >= 1, got True"),
    ("recurse(one, blocks='4')", "ValueError", "blocks must be a whole number >= 1, got '4'"),
    ("recurse(one, blocks=None)", "ValueError", "blocks must be a whole number"),
    ("SGD(1.0, steps=2.0)", "ValueError", "steps must be a whole number >= 0, got 2.0"),
    ("SGD(1.0, steps=True)", "ValueError", "steps must be a whole number"),
    ("SGD('fast', steps=2)", "TypeError", "lr must be a number >= 0, got 'fast'"),
    ("SGD(None, steps=2)", "TypeError", "lr must be a number"),
    ("SGD(True, steps=2)", "TypeError", "lr must be a number >= 0, got True"),
    ("SGD(['a', 'b'], steps=2)", "(Type|Value)Error", "lr.* must be a number"),
    ("SGD([[0.1], [0.2]], steps=2)", "(Type|Value)Error", "lr.* must be"),
    ("SGD({'lr': 0.1}, steps=2)", "(Type|Value)Error", "lr.* must be"),
    ("SGD(1j, steps=2)", "TypeError", "lr must be a number"),
    ("SGD(0.1, steps=2, momentum='much')", "TypeError", "momentum must be a number"),
    ("ResNet(multiplier='big')", "TypeError", "multiplier must be a number > 0, got 'big'"),
    ("ResNet(multiplier=1e300)", "ValueError", "multiplier must be at most 1e.100, got 1e.300"),
    ("ResNet(block_depth='2')", "ValueError", "block_depth must be a whole number between 1 and 12, got '2'"),
    ("ResNet(layer_norm='yes')", "TypeError", "layer_norm must be True or False, got 'yes'"),
    ("ResNet('relu', mean_subtraction=0)", "TypeError", "mean_subtraction must be True or False, got 0"),
    ("ResNet(form=['post'])", "ValueError", "form must be 'post', 'pre' or 'mlp', got \\['post'\\]"),
    ("Muon(0.1, 3, nesterov='no')", "TypeError", "nesterov must be True or False, got 'no'"),
    ("ResNet(nonlinearity=np.tanh)", "ValueError", "nonlinearity must be"),
    ("Problem('resnet', DEPTH_MUP, SGD(1, steps=1), [[1]], [[1]])", "TypeError", "model must be a ResNet, got 'resnet'"),
    ("Problem(ResNet(), (1, 0), SGD(1, steps=1), [[1]], [[1]])", "TypeError", "parametrization must be a Parametrization"),
    ("Problem(ResNet(), DEPTH_MUP, 0.1, [[1]], [[1]])", "TypeError", "optimizer must be SGD, .* got 0.1"),
    ("Problem(ResNet(), DEPTH_MUP, SGD(1, steps=1), [[1]], [[1]], loss=['mse'])", "(Type|Value)Error", "loss must be one of"),
    ("Problem(ResNet(), DEPTH_MUP, SGD(1, steps=1), [[1]], [[1]], batches=5)", "(Type|Value)Error", "batches must be"),
    ("Problem(ResNet(), DEPTH_MUP, SGD(1, steps=1), [[1]], [[1]], batches=[[[0], [0, 0]]])", "ValueError", "batch 0 must be"),
    ("Problem(ResNet(), DEPTH_MUP, SGD(1, steps=1), [[1]], [[1]], batches=[0])", "ValueError", "batch 0 must be a nonempty list"),
    ("Problem(ResNet(), DEPTH_MUP, SGD(1, steps=1), [[1]], [['y']])", "ValueError", "targets must be a numeric array"),
    ("Parametrization(None, 0)", "TypeError", "alpha must be a fraction, got None"),
    ("Parametrization('1/2', True)", "TypeError", "gamma must be a fraction, got True"),
    ("Parametrization(1, 0, initial=[])", "ValueError", "initial must hold one exponent per layer"),
    ("Record(positions=0.5)", "(Type|Value)Error", "positions of a record must be"),
    ("Record(positions='all')", "ValueError", "positions of a record must be depths"),
    ("Record(positions=('a',))", "ValueError", "positions of a record must be depths"),
    ("Record(positions=[None])", "ValueError", "positions of a record must be depths"),
    ("Record(steps=1.5)", "(Type|Value)Error", 'steps of a record must be "all"'),
    ("Record(steps=3)", "(Type|Value)Error", 'steps of a record must be "all"'),
    ("Record(samples=[0.5])", "ValueError", 'samples of a record must be "all" or at least one index'),
    ("Record(kinds=3)", "(Type|Value)Error", "kinds of a record are"),
    ("Record(kinds=[3])", "ValueError", "kinds of a record are .* got 3"),
    ("solve(one, tol='tight')", "(Type|Value)Error", "tol must be"),
    ("solve(one, tol=[])", "(Type|Value)Error", "tol must be"),
    ("solve('problem')", "TypeError", "problem must be a Problem"),
    ("recurse('problem', blocks=4)", "TypeError", "problem must be a Problem"),
    ("recurse(one, blocks=4, progress=3)", "TypeError", "progress must be a function .* got 3"),
    ("recurse(one, blocks=4, particles=64, progress=3)", "TypeError", "progress must be a function .* got 3"),
    ("solve(one, progress=3)", "TypeError", "progress must be a function .* got 3"),
    (
        "recurse(Problem(ResNet(), Parametrization(-300, 0), SGD(1, 1), [[1]], [[1]]), blocks=64)",
        "ValueError",
        "powers of 64 blocks",
    ),
    ("simulate(one, width=8, blocks=4, progress='bar')", "TypeError", "progress must be a function .* got 'bar'"),
    ("finite.grid(one, width=8, blocks=4, lrs=[1.0], progress=3)", "TypeError", "progress must be a function .* got 3"),
    ("ladder(one, widths=(8,), blocks=(4,), progress=3)", "TypeError", "progress must be a function .* got 3"),
    ("ladder(one, widths=(8,), blocks=(4,), executor=3)", "TypeError", "executor must be a"),
    ("sweeps.run([], progress=3)", "TypeError", "progress must be a function .* got 3"),
    ("sweeps.run([], folder=3)", "TypeError", "folder must be the path of a folder, or None, got 3"),
    ("nngp('relu', [[1]])", "TypeError", "model must be a ResNet, got 'relu'"),
    ("nngp(ResNet(), [[1]], parametrization=(1, 0))", "TypeError", r"parametrization must be a Parametrization, got \(1, 0\)"),
    ("ntk(ResNet(), [[1]], blocks=2.5)", "ValueError", "blocks must be a whole number >= 1, got 2.5"),
    ("ntk(ResNet(), [[1]], ['two'])", "ValueError", "others must be a numeric array"),
    ("ntk(ResNet(), [[1]], trained='head')", "ValueError", "trained must be any of blocks, input, output, got 'head'"),
    ("diversity.feature_increments('run')", "TypeError", "trajectory must be a Trajectory, got 'run'"),
    ("diversity.diversity_exponents(one)", "TypeError", "trajectory must be a Trajectory, got Problem"),
    ("diversity.gradient_correlation(None)", "TypeError", "trajectory must be a Trajectory, got None"),
    ("diversity.rank(['relux'])", "ValueError", "nonlinearity must be a Nonlinearity or a sum of"),
    ("diversity.rank('relu', multiplier=-1)", "ValueError", "multiplier must be finite and > 0, got -1"),
    ("recurse(one, blocks=4, record='feature')", "TypeError", "record must be a Record"),
    ("solve(one, record=('feature',))", "TypeError", "record must be a Record"),
    ("classify('1/2')", "TypeError", "parametrization must be a Parametrization"),
    ("classify((1, 0))", "TypeError", "parametrization must be a Parametrization"),
    (
        "Parametrization('1e99999999', 0)",
        "ValueError",
        "alpha must be a fraction of at most 100 digits, got the text '1e99999999'",
    ),
    ("Parametrization(0, 10**5000)", "ValueError", "gamma must be a fraction of at most 100 digits, got one of about 5001"),
    ("Parametrization('x' * 5000, 0)", "ValueError", "got the text 'x{20}' and 4980 characters more"),
    ("classify(DEPTH_MUP, centred=None)", "TypeError", "centred must be True or False, got None"),
    ("classify(DEPTH_MUP, centred=[])", "TypeError", "centred must be True or False, got \\[\\]"),
    ("conditions(tied='yes')", "TypeError", "tied must be True or False, got 'yes'"),
    ("design('stable', centred='False')", "TypeError", "centred must be True or False, got 'False'"),
    ("phase_diagram(block_depth=1.5)", "ValueError", "block_depth must be a whole number between 1 and 12, got 1.5"),
    ("raw_exponents(DEPTH_MUP, 'adam', 0)", "ValueError", "block_depth must be a whole number between 1 and 12, got 0"),
    ("raw_exponents(DEPTH_MUP, 'adam', '2')", "ValueError", "block_depth must be a whole number between 1 and 12, got '2'"),
    ("raw_exponents(DEPTH_MUP, 'adam', True)", "ValueError", "block_depth must be a whole number between 1 and 12, got True"),
    ("raw_exponents('adam', DEPTH_MUP)", "TypeError", "parametrization must be a Parametrization, got 'adam'"),
    ("raw_exponents(DEPTH_MUP, ['adam'])", "ValueError", "optimizer must be one of sgd, .* got \\['adam'\\]"),
    ("design(['stable', 'diverse'])", "TypeError", "a wish must be text, got \\['stable', 'diverse'\\]: write design"),
    ("design(None)", "TypeError", "a wish must be text, got None"),
    ("design('stable', free=None)", "TypeError", "free must name exponents, got None"),
    ("design('stable', fixed='alpha=0')", "TypeError", "fixed must be a mapping from exponents to values, got 'alpha=0'"),
    ("design('stable', fixed={'gamma': (0, 1)})", "ValueError", "gamma needs 1 exponent in this block, got 2"),
    (
        "design('stable', block_depth=8)",
        "ValueError",
        "at most 7 layers with exponents of their own, got block_depth = 8: .*tied",
    ),
    ("design('stable').contains((1, 0))", "TypeError", "parametrization must be a Parametrization, got \\(1, 0\\)"),
    ("plots.phases(None)", "TypeError", "diagram must be a PhaseDiagram, got None"),
    ("plots.phases(phase_diagram(), {('x', 0): [1]})", "ValueError", "alpha must be a fraction, got the text 'x'"),
    ("decode({'optimizer': 'adam', 'lr': 1, 'rate': 'L'})", "ValueError", "the recipe gives lr twice: 1 and 'L'"),
    ("decode('adam k=0')", "ValueError", "block_depth must be a whole number between 1 and 12, got 0"),
    ("decode('adam lr=1e99999999')", "ValueError", "lr must be a positive product of powers of L, got '1e99999999'"),
    ("decode('adam lr=' + '(' * 5000 + 'L' + ')' * 5000)", "ValueError", "of at most 100 characters, got 10001"),
    ("limits.nothing", "AttributeError", "module 'limits' has no attribute 'nothing'"),
]

TRY = """
import json, sys
setup, codes = json.loads(sys.stdin.read())
space, said = {}, []
exec(setup, space)
for code in codes:
    try:
        eval(code, space)
        said.append(["", ""])
    except Exception as fault:
        said.append([type(fault).__name__, str(fault)])
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said():
    codes = FINE + [code for code, _, _ in WRONG]
    run = subprocess.run(
        [sys.executable, "-c", TRY], input=json.dumps([SETUP, codes]), capture_output=True, text=True, check=True, timeout=300
    )
    return dict(zip(codes, json.loads(run.stdout), strict=True))


@pytest.mark.parametrize("code", FINE)
def test_fine(said, code):
    assert said[code] == ["", ""]


@pytest.mark.parametrize(("code", "kind", "sentence"), WRONG, ids=[code for code, _, _ in WRONG])
def test_wrong(said, code, kind, sentence):
    name, message = said[code]
    assert re.fullmatch(kind, name), f"{name}: {message}"
    assert re.search(sentence, message), message
