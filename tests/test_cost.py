"""What a run is said to cost, against what it takes."""

import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from conftest import CATALOGUE

import limits.deep.one_layer
import limits.deep.pre_flow
import limits.deep.two_layer
import limits.deep.two_layer_post
from limits import Record, ToleranceWarning, estimate, recurse, simulate, solve
from limits.cost import BASE, RUNGS, Estimate
from limits.deep.solve import sampled_footprint
from limits.memory import SHARE
from limits.optimizers import SGD, Adam, AdamW, Muon, SignSGD
from limits.parametrization import COMPLETEP, DEPTH_MUP, NEURAL_ODE, Parametrization
from limits.problem import Problem, ResNet

NOTHING = Record(kinds=())
BETWEEN = np.linspace(0.01, 0.98, 9).tolist()
"""Depths between two blocks of a network of 64."""
RUN = {"simulate": simulate, "recurse": recurse, "solve": solve}


def random_problem(steps, d_in, d_out, samples, parametrization=DEPTH_MUP, **sgd):
    rng = np.random.default_rng([11, steps, d_in, d_out, samples])
    x, y = rng.standard_normal((samples, d_in)), rng.standard_normal((samples, d_out))
    return Problem(ResNet(), parametrization, SGD(0.2, steps, **sgd), x, y)


def peak(run):
    """Bytes allocated at the same time, beyond those before."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def assert_estimated(problem, rung, **options):
    """Within a factor of 2, of what is worth estimating."""
    said, taken = estimate(problem, rung, **options).bytes, peak(lambda: RUN[rung](problem, **options))
    assert taken >= 20e6, f"only {taken / 1e6:.1f} MB: no test of the estimate"
    assert 0.5 < said / taken < 2, f"{said / 1e6:.1f} MB said, {taken / 1e6:.1f} MB taken"


QUICK = [
    ((20, 5, 1, 20), NOTHING, 64),
    ((8, 10, 3, 20), Record(samples=range(5), kinds=("feature", "gradient")), 64),
    ((4, 2, 1, 120), Record(), 16),
    ((5, 2, 1, 60), Record(positions=BETWEEN), 64),
    ((8, 6, 2, 20), Record(positions=BETWEEN, samples=range(8), kinds=("two_depth",)), 64),
]
LARGE = [
    ((40, 3, 2, 10), NOTHING, 64),
    ((12, 10, 3, 20), Record(positions=BETWEEN, samples=(0,), kinds=("response", "feature")), 64),
    ((30, 10, 1, 20), Record(samples=(0,)), 128),
    ((12, 40, 1, 50), Record(samples=(0,)), 32),
    ((40, 1, 1, 3), Record(samples=(0,)), 256),
]
CASES = [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in LARGE)]


@pytest.mark.parametrize(("sizes", "record", "blocks"), CASES)
def test_memory_of_recurse(sizes, record, blocks):
    assert_estimated(random_problem(*sizes), "recurse", blocks=blocks, record=record)


QUICK_LIMITS = [
    ((6, 32, 1, 40), NOTHING),
    ((4, 2, 1, 100), Record()),
    ((4, 4, 2, 20), Record(positions=BETWEEN, samples=range(15), kinds=("two_depth",))),
]
LARGE_LIMITS = [
    ((30, 3, 2, 10), Record(samples=range(5), kinds=("feature", "gradient"))),
    ((10, 20, 3, 30), NOTHING),
    ((5, 2, 1, 60), Record(positions=BETWEEN)),
    ((12, 8, 3, 20), Record(positions=BETWEEN, samples=(0,), kinds=("response", "feature"))),
    ((30, 10, 1, 20), NOTHING),
    ((12, 12, 1, 20), NOTHING),
]
LIMITS = [*QUICK_LIMITS, *(pytest.param(*case, marks=pytest.mark.slow) for case in LARGE_LIMITS)]


@pytest.mark.parametrize(("sizes", "record"), LIMITS)
def test_memory_of_solve(sizes, record):
    assert_estimated(random_problem(*sizes), "solve", record=record)


NETWORKS = [
    ({"width": 512, "blocks": 16, "seeds": 4}, (5, 5, 2, 10), {}, NOTHING, "float32"),
    ({"width": 512, "blocks": 8, "seeds": 4}, (5, 5, 2, 10), {}, NOTHING, "float64"),
    ({"width": 1024, "blocks": 8, "seeds": 1}, (3, 5, 2, 10), {}, Record(), "float32"),
    ({"width": 128, "blocks": 128, "seeds": 8}, (3, 2, 1, 10), {}, NOTHING, "float32"),
    ({"width": 256, "blocks": 16, "seeds": 8}, (20, 5, 2, 10), {"momentum": 0.9}, NOTHING, "float32"),
    ({"width": 128, "blocks": 8, "seeds": 4}, (10, 2, 1, 100), {}, Record(), "float32"),
    ({"width": 64, "blocks": 8, "seeds": 8}, (60, 5, 1, 10), {}, Record(kinds=("feature", "gradient")), "float32"),
]
LARGE_NETWORKS = [
    ({"width": 16, "blocks": 32, "seeds": 3000}, (3, 2, 1, 10), {}, NOTHING, "float32"),
    ({"width": 256, "blocks": 16, "seeds": 8}, (60, 5, 2, 10), {"momentum": 0.9}, NOTHING, "float32"),
    ({"width": 64, "blocks": 64, "seeds": 8}, (100, 5, 2, 10), {"momentum": 0.9}, Record(), "float32"),
    ({"width": 128, "blocks": 64, "seeds": 16}, (10, 5, 2, 10), {}, Record(), "float64"),
    ({"width": 2048, "blocks": 4, "seeds": 3}, (10, 5, 2, 10), {}, NOTHING, "float32"),
    (
        {"width": 64, "blocks": 8, "seeds": 4},
        (10, 2, 1, 100),
        {},
        Record(positions=BETWEEN, samples=range(15), kinds=("two_depth",)),
        "float32",
    ),
]
ALL_NETWORKS = [*NETWORKS, *(pytest.param(*case, marks=pytest.mark.slow) for case in LARGE_NETWORKS)]


@pytest.mark.parametrize(("sizes", "problem", "sgd", "record", "dtype"), ALL_NETWORKS)
def test_memory_of_simulate(sizes, problem, sgd, record, dtype):
    assert_estimated(random_problem(*problem, **sgd), "simulate", **sizes, record=record, dtype=dtype)


def test_the_flow_takes_no_more_than_said():
    """At alpha = 1 `solve` keeps far less than the system that is counted: the estimate is a bound, not a figure."""
    problem = random_problem(20, 5, 2, 20, NEURAL_ODE)
    assert peak(lambda: solve(problem, record=NOTHING)) < estimate(problem, "solve", record=NOTHING).bytes


@pytest.mark.parametrize("rung", RUNGS)
def test_small_runs_are_said_to_take_little(rung):
    sizes = {"simulate": {"width": 8, "blocks": 4}, "recurse": {"blocks": 4}, "solve": {}}[rung]
    cost = estimate(CATALOGUE["single"], rung, **sizes)
    assert BASE <= cost.bytes < 2 * BASE
    assert peak(lambda: RUN[rung](CATALOGUE["single"], **sizes)) < 4 * BASE


def test_an_estimate_makes_nothing_large():
    problem = random_problem(50, 10, 2, 30)
    sizes = {"simulate": {"width": 4096, "blocks": 1000}, "recurse": {"blocks": 4096}, "solve": {}}
    for rung in RUNGS:
        estimate(problem, rung, **sizes[rung], record=NOTHING)
        said = []
        taken = peak(lambda rung=rung, said=said: said.append(estimate(problem, rung, **sizes[rung], record=NOTHING)))
        assert taken < 0.1 * said[0].bytes, rung


def test_more_of_anything_costs_more():
    base = {"width": 64, "blocks": 16, "seeds": 4}
    problem = random_problem(5, 3, 2, 8)
    first = estimate(problem, "simulate", **base).bytes
    for name in ("width", "blocks"):
        assert estimate(problem, "simulate", **(base | {name: 8 * base[name]})).bytes > 2 * first
    assert estimate(problem, "simulate", **base, dtype="float64").bytes > first
    steps = [estimate(random_problem(T, 3, 2, 8), "recurse", blocks=32, record=NOTHING).bytes for T in (5, 10, 20)]
    assert steps[2] - BASE > 3 * (steps[1] - BASE) > 9 * (steps[0] - BASE)  # T^2, and lower orders


# What an estimate is.


@pytest.mark.parametrize("rung", RUNGS)
def test_parts_add_up_and_go_into_json(rung):
    cost = estimate(CATALOGUE["inputs"], rung, width=16, blocks=8, seeds=3)
    assert sum(cost.parts.values()) == cost.bytes
    assert all(isinstance(part, int) and part >= 0 for part in cost.parts.values())
    value = json.loads(json.dumps(cost.to_json(), allow_nan=False))
    assert Estimate(**value) == cost
    assert value["seconds"] is None
    assert value["rung"] == rung
    names = {"simulate": ["width", "blocks", "seeds"], "recurse": ["blocks"], "solve": ["nodes"]}
    assert list(value["sizes"]) == names[rung]


def test_text_says_sizes_memory_and_time():
    cost = Estimate("recurse", 12_345_678, None, {}, {"blocks": 7})
    assert str(cost) == "recurse (blocks = 7): 12.3 MB"
    assert str(replace(cost, seconds=0.123)) == "recurse (blocks = 7): 12.3 MB, 0.123 s"


@pytest.mark.parametrize("steps", [0, 1, 2, 7])
@pytest.mark.parametrize("rung", RUNGS)
def test_calibration_gives_a_time(rung, steps):
    problem = replace(CATALOGUE["inputs"], optimizer=SGD(0.3, steps=steps, output_lr=0.1))
    cost = estimate(problem, rung, width=16, blocks=8, seeds=3, tol=1e-4, calibrate=True)
    assert 0 < cost.seconds < float("inf")
    json.dumps(cost.to_json(), allow_nan=False)


def test_calibration_respects_batches_and_schedules():
    """Trial runs are prefixes of the problem, whatever it carries per step."""
    for rung in RUNGS:
        assert estimate(CATALOGUE["both"], rung, width=16, blocks=8, calibrate=True).seconds > 0


def test_the_limit_of_nonlinear_blocks_is_counted_by_sample():
    """Not by direction: forty samples in two directions take three hundred times as much as linear ones."""
    problem = replace(random_problem(3, 2, 1, 40), model=ResNet("sin + cos"))
    assert_estimated(problem, "solve", tol=1e-4, record=NOTHING)


# Limits whose expectations are means over clouds.


BLOCKS = {
    "one layer": ResNet("tanh"),
    "two layers, mlp": ResNet("tanh", 2, form="mlp"),
    "two layers, post": ResNet("tanh", 2),
    "pre": ResNet("tanh", form="pre"),
}


def on_clouds(name, steps, samples, d_in):
    rates = Parametrization("3/4", "1/4") if name == "pre" else COMPLETEP
    return replace(random_problem(steps, d_in, 1, samples, rates), model=BLOCKS[name])


CLOUDED = [
    ("two layers, mlp", (3, 4, 2), NOTHING),
    ("pre", (4, 8, 4), NOTHING),
]
LARGE_CLOUDED = [
    ("two layers, post", (2, 2, 2), NOTHING),
    ("one layer", (4, 8, 3), NOTHING),
    ("one layer", (6, 6, 3), NOTHING),
    ("two layers, mlp", (6, 4, 2), Record()),
    ("two layers, post", (6, 2, 2), NOTHING),
    ("pre", (8, 8, 3), NOTHING),
]


@pytest.mark.parametrize(
    ("name", "sizes", "record"), [*CLOUDED, *(pytest.param(*case, marks=pytest.mark.slow) for case in LARGE_CLOUDED)]
)
def test_memory_of_clouds(name, sizes, record):
    """With as many points as the tolerance of 1e-4 takes, which a trial foretells where its error is not close to that."""
    assert_estimated(on_clouds(name, *sizes), "solve", record=record)


@pytest.mark.slow
def test_memory_of_an_extrapolated_limit():
    problem = replace(on_clouds("pre", 2, 2, 2), parametrization=DEPTH_MUP)
    assert_estimated(problem, "solve", record=NOTHING)


def test_points_are_those_of_the_run():
    problem = on_clouds("two layers, mlp", 3, 4, 2)
    sizes, meta = estimate(problem, "solve", tol=2e-3).sizes, solve(problem, tol=2e-3).meta
    assert sizes == {"nodes": meta["panels"] * (meta["order"] + 2), "points": meta["points"]}
    assert estimate(problem, "solve", tol=1e-4).sizes["points"] >= 4 * sizes["points"]


def test_more_steps_and_tighter_tolerances_take_larger_clouds():
    problem = on_clouds("two layers, mlp", 12, 1, 1)
    usual, tight, tightest = (estimate(problem, "solve", tol=tol).sizes["points"] for tol in (1e-4, 1e-5, 1e-6))
    assert usual < tight < tightest
    assert estimate(problem.prefix(3), "solve", tol=1e-5).sizes["points"] <= tight


@pytest.mark.parametrize("name", BLOCKS)
def test_clouds_grow_as_far_as_memory_allows(name, monkeypatch):
    module, sizes = {
        "one layer": (limits.deep.one_layer, "NESTED"),
        "two layers, mlp": (limits.deep.two_layer, "POINTS"),
        "two layers, post": (limits.deep.two_layer_post, "NESTED"),
        "pre": (limits.deep.pre_flow, "POINTS"),
    }[name]
    monkeypatch.setattr(module, sizes, (2**9, 2**17))
    problem = on_clouds(name, 2, 1, 1)
    free = sampled_footprint(problem, NOTHING, 12, 2**12) / SHARE
    monkeypatch.setattr("limits.memory.available_memory", lambda: free)
    with pytest.warns(ToleranceWarning, match="tol = 1e-13 was not met"):
        t = solve(problem, tol=1e-13, record=NOTHING)
    assert 2**9 <= t.meta["points"] < 2**13
    monkeypatch.setattr("limits.memory.available_memory", lambda: free / 100)
    with pytest.raises(MemoryError, match=r"this limit would take .* take fewer steps or samples, or a looser tol"):
        solve(problem, tol=1e-13, record=NOTHING)


# Samples of neurons.


def test_particles_count():
    problem = replace(random_problem(2, 2, 1, 3), model=ResNet("tanh"))
    usual, many = (estimate(problem, "recurse", blocks=8, particles=N) for N in (8192, 2**16))
    assert 7 < many.parts["neurons"] / usual.parts["neurons"] < 9
    assert estimate(problem, "recurse", blocks=8) == usual
    assert usual.sizes == {"blocks": 8, "particles": 8192}


def test_particles_of_linear_blocks_are_sampled_as_they_are_run():
    problem = random_problem(3, 3, 1, 8)
    assert "particles" not in estimate(problem, "recurse", blocks=8).sizes
    assert_estimated(problem, "recurse", blocks=8, particles=4096, record=NOTHING)
    assert estimate(problem, "recurse", blocks=8, particles=512, calibrate=True).seconds > 0


# Errors.


@pytest.mark.parametrize(
    ("rung", "sizes", "sentence"),
    [
        ("finite", {}, "rung must be one of simulate, recurse, solve, got 'finite'"),
        ("simulate", {"blocks": 4}, "the cost of simulate depends on width: give width="),
        ("simulate", {"width": 4}, "the cost of simulate depends on blocks: give blocks="),
        ("recurse", {}, "the cost of recurse depends on blocks: give blocks="),
        ("recurse", {"blocks": 0}, "blocks must be a whole number >= 1, got 0"),
        ("recurse", {"blocks": 4, "particles": 0}, "particles must be a whole number >= 1, got 0"),
        ("recurse", {"blocks": 4, "particles": 8}, "particles must be at least"),
        ("simulate", {"width": -3, "blocks": 4}, "width must be a whole number >= 1, got -3"),
        ("simulate", {"width": 4, "blocks": 4, "seeds": 0}, "seeds must be a whole number >= 1, got 0"),
        ("simulate", {"width": 4, "blocks": 4, "dtype": "float16"}, "dtype must be one of float32, float64"),
        ("solve", {"tol": 0.0}, "tol must be at least"),
    ],
)
def test_bad_input_gets_a_sentence(rung, sizes, sentence):
    with pytest.raises(ValueError, match=sentence):
        estimate(CATALOGUE["single"], rung, **sizes)


def test_a_record_too_large_to_run_can_be_estimated():
    """The estimate is what tells so."""
    problem = random_problem(20, 2, 1, 400)
    assert estimate(problem, "recurse", blocks=4, record=Record()).bytes > 1e9
    with pytest.raises(ValueError, match="keep fewer samples"):
        recurse(problem, blocks=4, record=Record())


# Networks of any block under any optimizer.


DEEP = [
    (ResNet("relu"), Adam(0.1, 2), {"width": 512, "blocks": 8, "seeds": 3}, "float32"),
    (ResNet("relu", 2, form="mlp"), Adam(0.1, 2), {"width": 256, "blocks": 8, "block_width": 1024, "seeds": 2}, "float32"),
    (ResNet("relu", 2, form="mlp", expansion=4), AdamW(0.1, 2), {"width": 256, "blocks": 8, "seeds": 2}, "float64"),
    (ResNet("tanh", layer_norm=True), SGD(0.1, 2, weight_decay=0.1), {"width": 64, "blocks": 32, "seeds": 70}, "float32"),
    (ResNet("tanh", 3), SignSGD(0.1, 2, momentum=0.5), {"width": 256, "blocks": 8, "seeds": 2}, "float32"),
    (ResNet("tanh", 2), Muon(0.1, 2), {"width": 512, "blocks": 4, "seeds": 2}, "float32"),
]


@pytest.mark.parametrize(("model", "optimizer", "sizes", "dtype"), DEEP)
@pytest.mark.parametrize("record", [NOTHING, Record(samples=range(8))])
def test_memory_of_networks_of_any_block(model, optimizer, sizes, dtype, record):
    problem = replace(random_problem(2, 5, 2, 30), model=model, optimizer=optimizer)
    assert_estimated(problem, "simulate", **sizes, record=record, dtype=dtype)


def test_the_width_inside_counts():
    problem = replace(random_problem(2, 5, 2, 30), model=ResNet("relu", 2, form="mlp"), optimizer=Adam(0.1, 2))
    sizes = {"width": 64, "blocks": 16}
    narrow, wide = (estimate(problem, "simulate", **sizes, block_width=M).bytes - BASE for M in (64, 512))
    assert 5 < wide / narrow < 8.5
    assert estimate(problem, "simulate", **sizes).bytes - BASE == narrow
    assert estimate(problem, "simulate", **sizes, block_width=96, calibrate=True).seconds > 0
    one = {"block_width": 96, "width": 8, "blocks": 2}
    with pytest.raises(ValueError, match="block_width is for blocks of several layers, got 96 for block_depth=1"):
        estimate(CATALOGUE["single"], "simulate", **one)


def test_limits_of_other_optimizers_cost_nothing_because_there_are_none():
    problem = replace(CATALOGUE["single"], optimizer=Adam(0.1, 2))
    with pytest.raises(ValueError, match="solve treats SGD, got Adam: ask recurse"):
        estimate(problem, "solve")
