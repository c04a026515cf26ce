"""Sweeps: keys that hold everywhere, files that are whole or not there, and whatever can end a sweep half-way."""

import errno
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import fields, replace
from math import dist
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import sweep_jobs
from conftest import CATALOGUE
from hypothesis import given
from hypothesis import strategies as st
from sweep_jobs import arguments, deadly, draw, environment, failing, kinds, returns, train

from limits.nonlinearity import Nonlinearity, nonlinearity
from limits.problem import Problem, ResNet
from limits.sweeps import DamagedWarning, Job, WorkerDiedError, run
from limits.sweeps.content import content
from limits.sweeps.pool import THREADS
from limits.sweeps.sweep import checked_jobs

SCRIPT = Path(sweep_jobs.__file__)
SOON = 20.0
"""Seconds after which something that should happen at once has not happened."""


def assert_same(one, other):
    """Equal to the last bit, in kind and in order."""
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert list(a) == list(b)
        for name in a:
            assert type(a[name]) is type(b[name])
            if isinstance(a[name], np.ndarray):
                assert a[name].dtype == b[name].dtype
                assert a[name].shape == b[name].shape
                assert a[name].tobytes() == b[name].tobytes()
            else:
                assert a[name] == b[name]


def lines(log) -> Counter:
    """How often each line is in a log; none if nothing was logged."""
    return Counter(Path(log).read_text().split()) if Path(log).exists() else Counter()


def draws(log, count=4, wait=0.0):
    return [Job(draw, {"seed": seed, "log": str(log), "wait": wait}) for seed in range(count)]


def until(condition):
    """Wait for something that should happen at once."""
    end = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def script(*words, **options):
    return subprocess.Popen([sys.executable, str(SCRIPT), *map(str, words)], text=True, **options)


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "results"


# Keys.


def test_a_key_is_known():
    """One that was computed when the format was made: whoever changes what is hashed raises FORMAT, and this number."""
    job = Job(dist, {"p": (1, 2.5), "q": np.array([0.0, 1.0]), "r": {"a": None}})
    assert job.key == "1bba9554230ccf4e9da71610b5e5d511cd7c5a278382c3b7d51a1848505c5446"


def test_keys_are_the_same_in_every_process():
    here = [Job(draw, {"x": value}).key for value in arguments().values()]
    for seed in ("0", "1"):
        with script("keys", env={**os.environ, "PYTHONHASHSEED": seed}, stdout=subprocess.PIPE) as process:
            assert process.stdout.read().split() == here


def test_keys_differ():
    values = [*arguments().values(), *CATALOGUE.values(), ("ab", "c"), ("a", "bc"), ("abc",), (), [], {}, "", b"", 0, 0.0, -0.0]
    keys = [content(value) for value in values]
    assert len(set(keys)) == len(keys)
    assert content(float("nan")) == content(float("nan")) != content(np.inf)
    assert Job(draw, {"x": 1}).key != Job(failing, {"x": 1}).key != Job(failing, {"y": 1}).key


def test_keys_do_not_depend_on_the_layout_of_arrays():
    x = np.arange(24.0).reshape(4, 6)
    wide = np.zeros((8, 12))
    wide[::2, ::2] = x
    readonly = x.copy()
    readonly.setflags(write=False)
    for same in (np.asfortranarray(x), wide[::2, ::2], readonly, x[::-1][::-1], x.T.copy().T):
        assert content(same) == content(x)
    for other in (x.T, x.reshape(6, 4), x.ravel(), x.astype(int), x.astype(complex), x[:0], x[:, :0], np.nextafter(x, 99)):
        assert content(other) != content(x)


def test_numbers_of_all_libraries_are_numbers():
    assert content(np.int8(3)) == content(3) == content(np.uint64(3)) != content(3.0)
    assert content(np.float64(0.1)) == content(0.1) != content(np.float32(0.1))
    assert content(np.bool_(True)) == content(True) != content(1)


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_keys_depend_on_every_field(name):
    problem = CATALOGUE[name]
    assert content(problem) == content(replace(problem)) == content(pickle.loads(pickle.dumps(problem)))
    changed = {
        "model": replace(problem.model, multiplier=0.123),
        "parametrization": replace(problem.parametrization, gamma="1/3"),
        "optimizer": replace(problem.optimizer, momentum=0.25),
        "inputs": problem.inputs + 1e-15,
        "targets": problem.targets + 1,
        "loss": "mse" if problem.loss == "logistic" else "logistic",
        "batches": [[0]] * problem.steps,
        "probes": np.ones((3, problem.d_in)),
    }
    others = {key: object.__new__(Problem) for key in changed}
    for key, other in others.items():  # without what a problem checks: not every loss goes with every target
        for f in fields(Problem):
            object.__setattr__(other, f.name, changed[key] if f.name == key else getattr(problem, f.name))
    assert len({content(problem), *map(content, others.values())}) == 1 + len(others)


@given(st.recursive(st.none() | st.integers() | st.text() | st.floats(), lambda t: st.lists(t) | st.dictionaries(st.text(), t)))
def test_keys_survive_a_copy(value):
    assert content(pickle.loads(pickle.dumps(value))) == content(value)
    assert content([value]) != content(value)
    assert content({"a": value}) != content({"b": value})


def test_nonlinearities_of_ones_own_are_told_apart_by_their_values():
    own = arguments()["own"]
    same = Nonlinearity("own", lambda z: 1 / (1 + np.exp(-z)), own.derivative)
    assert content(same) == content(own)
    doubled = Nonlinearity("own", lambda z: 2 * own.phi(z), lambda z: 2 * own.derivative(z))
    bent = Nonlinearity("own", own.phi, own.derivative, kinks=[0.5])
    named = Nonlinearity("other", own.phi, own.derivative)
    keys = {content(ResNet(phi)) for phi in (own, doubled, bent, named, own + doubled, 2.0 * own)}
    assert len(keys) == 6
    assert content(ResNet(nonlinearity("sin") + nonlinearity("cos"))) == content(ResNet("sin + cos"))


@pytest.mark.parametrize("value", [object(), draw, int, np.array([None]), np.ma.masked_array([1.0]), iter([1]), Path("x")])
def test_what_has_no_content_is_refused(value):
    with pytest.raises(TypeError, match="argument"):
        run([Job(draw, {"seed": (1, {"a": value})})])


@pytest.mark.parametrize("function", [lambda: {}, CATALOGUE["single"].prefix, type("Local", (), {})])
def test_functions_that_others_cannot_find_are_refused(function):
    with pytest.raises(TypeError, match="must be one of a module"):
        Job(function, {})


def test_wrong_questions(folder, tmp_path):
    with pytest.raises(TypeError, match="arguments"):
        Job(kinds, {1: 2})
    with pytest.raises(TypeError, match="must be a sequence of Job"):
        checked_jobs(Job(kinds, {}))
    with pytest.raises(TypeError, match="every job must be a Job"):
        checked_jobs([kinds])
    with ThreadPoolExecutor(1) as executor, pytest.raises(ValueError, match="got both"):
        run([], executor=executor, workers=1)
    with pytest.raises(ValueError, match="workers must be a whole number >= 1, got 0"):
        run([Job(kinds, {})], workers=0)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="name a folder"):
        run([Job(kinds, {})], folder=tmp_path / "file")
    with pytest.raises(OSError, match=r"kept in a folder that can be written to, got .*/file/inside \(Not a directory\)"):
        run([Job(kinds, {})], folder=tmp_path / "file" / "inside")
    for path in ("", "a\0b"):
        with pytest.raises(ValueError, match="folder must be the path of a folder"):
            run([Job(kinds, {})], folder=path)
    assert not list(tmp_path.glob("*.npz"))


def test_a_folder_that_cannot_be_written_to_is_found_out_before_anything_runs(folder, log, monkeypatch):
    def full(**where):
        raise OSError(errno.EROFS, "Read-only file system", where["dir"])

    done = draws(log, 1)
    run(done, folder=folder)
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    ran = lines(log)
    with pytest.raises(OSError, match=r"kept in a folder that can be written to, got .* \(Read-only file system\)"):
        run(draws(log, 2), folder=folder)
    assert lines(log) == ran
    assert len(run(done, folder=folder)) == 1, "what is there can be read all the same"


# Results and files.


def test_results_come_in_order_and_each_once(log):
    jobs = draws(log, 3)
    answers = run([jobs[2], jobs[0], draws(log, 3)[2], jobs[1]])
    assert_same(answers, run([jobs[2], jobs[0], jobs[2], jobs[1]]))
    assert not np.shares_memory(answers[0]["normal"], answers[1]["normal"])
    assert lines(log) == {"0": 2, "1": 2, "2": 2}
    assert run([]) == []


def test_a_file_gives_back_what_was_computed(folder):
    first, again = (run([Job(kinds, {})], folder=folder) for _ in range(2))
    assert_same(first, again)
    assert_same(first, run([Job(kinds, {})]))
    assert first[0]["tuple"] == [1, 2.5, None, "x"]
    assert first[0]["f"].flags.f_contiguous
    assert again[0]["f"].flags.f_contiguous
    (path,) = folder.iterdir()
    assert path.name == f"{Job(kinds, {}).key}.npz"
    with np.load(path, allow_pickle=False) as file:
        assert json.loads(str(file["header"]))["job"] == "sweep_jobs.kinds()"


@pytest.mark.parametrize("what", ["list", "objects", "masked", "opaque", "complex", "names"])
def test_results_that_cannot_be_kept_are_refused(what, folder):
    with pytest.raises(TypeError, match="a job must return") as caught:
        run([Job(returns, {"what": what})], folder=folder)
    assert f"returns(what='{what}')" in caught.value.__notes__[0]
    assert not list(folder.iterdir())


def test_nothing_is_computed_again(log, folder):
    calls = []
    first = run(draws(log, 3), folder=folder, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(0, 3), (1, 3), (2, 3), (3, 3)]
    calls.clear()
    assert_same(first, run(draws(log, 5), folder=str(folder), progress=lambda done, total: calls.append((done, total)))[:3])
    assert calls == [(3, 5), (4, 5), (5, 5)]
    assert lines(log) == dict.fromkeys("01234", 1)


class Bomb:
    """Pickled, it touches a file when it is unpickled."""

    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def flipped(path):
    data = bytearray(path.read_bytes())
    data[data.index(b"NUMPY") + 130] ^= 1  # among the entries of the first array
    path.write_bytes(data)


def relabelled(path):
    """The file of another result, under another job's name and with its key."""
    with np.load(path) as file:
        arrays = dict(file)
    arrays["arr_0"] = arrays["arr_0"] + 1
    np.savez(path, **arrays)


DAMAGES = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "first half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "one bit": flipped,
    "text": lambda path: path.write_text("loss 0.5"),
    "other arrays": lambda path: np.savez(path, x=np.ones(3)),
    "other header": lambda path: np.savez(path, header=np.array('{"format": 1}')),
    "one array": lambda path: path.write_bytes(np.lib.format.magic(1, 0) + bytes(99)),
    "other content": relabelled,
    "pickle": lambda path: np.savez(path, header=np.array(Bomb(path.parent / "exploded"))),
    "another job's": lambda path: path.write_bytes((path.parent / f"{draws('', 3)[2].key}.npz").read_bytes()),
}


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_a_damaged_or_foreign_file_is_computed_anew(damage, folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    jobs = [Job(draw, {"seed": seed, "log": "", "wait": 0.0}) for seed in (1, 2)]
    monkeypatch.setattr(sweep_jobs, "logged", lambda log, line: done.append(line))
    done: list = []
    first = run(jobs[::-1], folder=folder)[::-1]
    path = folder / f"{jobs[0].key}.npz"
    DAMAGES[damage](path)
    with pytest.warns(DamagedWarning, match=f"{path.name} is damaged or no result of this job, and is computed anew: ."):
        assert_same(run(jobs, folder=folder), first)
    assert done == [2, 1, 1]
    assert_same(run(jobs, folder=folder), first)
    assert not (folder / "exploded").exists()


# Where jobs run.


def trainings():
    return [Job(train, {"problem": CATALOGUE[name], "width": 16, "seed": seed}) for name in ("inputs", "both") for seed in (0, 1)]


@pytest.fixture(scope="module")
def trained():
    return run(trainings())


def test_our_pool_gives_identical_numbers(trained, folder):
    calls = []
    assert_same(run(trainings(), workers=2, folder=folder, progress=lambda *now: calls.append(now)), trained)
    assert calls == [(done, 4) for done in range(5)]
    assert_same(run(trainings(), folder=folder), trained)


def test_threads_give_identical_numbers(trained):
    with ThreadPoolExecutor(2) as executor:
        assert_same(run(trainings(), executor=executor), trained)


def test_dask_gives_identical_numbers(trained, folder, log):
    """On a cluster of one worker in this process, on the loopback interface only."""
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 1, "threads_per_worker": 2, "processes": False, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client, client.get_executor() as executor:
        assert_same(run(trainings(), executor=executor, folder=folder), trained)
        jobs = [*draws(log, 2), Job(failing, {"seed": 9, "log": str(log), "how": "value"})]
        with pytest.raises(ValueError, match="9") as caught:
            run(jobs, executor=executor, folder=folder)
    assert "raised by the job sweep_jobs.failing(seed=9" in caught.value.__notes__[-1]
    assert lines(log) == {"0": 1, "1": 1, "9": 1}
    assert len(list(folder.iterdir())) == 6


def test_mpi_gives_identical_numbers(folder, log):
    pytest.importorskip("mpi4py")
    mpiexec = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if mpiexec is None:
        pytest.skip("there is no mpiexec")
    words = [mpiexec, "-n", "3", sys.executable, "-m", "mpi4py.futures", SCRIPT, "draw", folder, log, "6", "0", "mpi"]
    subprocess.run(words, check=True, timeout=3 * SOON)
    assert lines(log) == dict.fromkeys("012345", 1)
    assert_same(run(draws(log, 6), folder=folder), run(draws(folder.parent / "other", 6)))
    assert lines(log) == dict.fromkeys("012345", 1)


def test_many_more_jobs_than_an_executor_holds(monkeypatch, log):
    monkeypatch.setattr("limits.sweeps.places.MOST", 3)
    with ThreadPoolExecutor(2) as executor:
        assert_same(run(draws(log, 20), executor=executor), run(draws(log, 20)))


def test_workers_use_one_blas_thread(monkeypatch):
    for name in THREADS:
        monkeypatch.delenv(name, raising=False)
    (found,) = run([Job(environment, {"names": list(THREADS)})], workers=1)
    assert set(found["threads"]) == {1}
    assert found["variables"] == dict.fromkeys(THREADS, "1")
    assert not set(THREADS) & set(os.environ)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    (found,) = run([Job(environment, {"names": list(THREADS)})], workers=1)
    assert found["variables"] == dict.fromkeys(THREADS) | {"OMP_NUM_THREADS": "2"}


# What goes wrong.


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be asked for its exit code does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


linux = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")


@linux
@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_sweep_goes_on_where_it_stopped(workers, folder, log, tmp_path):
    """Killed with signal 9 in the middle: at most the jobs that were begun and not finished run again."""
    count, wait = 10, 0.2
    with script("draw", folder, log, count, wait, workers) as process:
        until(lambda: sum(lines(log).values()) >= 4)
        family = children(process.pid)
        process.kill()
    kept = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    begun = lines(log)
    assert 4 - max(workers, 1) <= len(kept) < count
    assert len(begun) - len(kept) <= max(workers, 1)
    until(lambda: not any(map(alive, family)))
    assert lines(log) == begun
    with script("draw", folder, log, count, wait, workers) as process:
        assert process.wait(SOON) == 0
    again = [seed for seed, times in lines(log).items() if times > 1]
    assert len(again) == len(begun) - len(kept)
    assert sum(lines(log).values()) == count + len(again)
    jobs = draws(log, count, wait)
    stopped = run(jobs, folder=folder)
    assert sum(lines(log).values()) == count + len(again)
    assert_same(stopped, run(jobs, folder=tmp_path / "uninterrupted"))


def test_two_sweeps_share_a_folder(folder, log):
    """While both write, whatever is there under its final name is whole: reading it warns of damage otherwise, an error here."""
    count = 60
    jobs = draws(log, count, 0.003)
    with script("draw", folder, log, count, 0.003, 0) as one, script("draw", folder, log, count, 0.003, 2) as other:
        until(folder.exists)
        while one.poll() is None or other.poll() is None:
            known = [job for job in jobs if (folder / f"{job.key}.npz").exists()]
            before = len(known)
            run(known, folder=folder)
            assert before <= count
        assert one.returncode == other.returncode == 0
    ran = lines(log)
    assert sorted(map(int, ran)) == list(range(count))
    assert max(ran.values()) <= 2
    assert_same(run(jobs, folder=folder), run(jobs))
    assert len(list(folder.iterdir())) == count


@linux
def test_no_worker_outlives_a_killed_sweep(folder, log):
    """Even in the middle of a job that would take a minute."""
    with script("draw", folder, log, 6, 60, 2) as process:
        until(lambda: sum(lines(log).values()) == 2)
        family = children(process.pid)
        process.kill()
    until(lambda: not any(map(alive, family)))


@pytest.mark.parametrize("by", ["exit", "signal"])
def test_a_dead_worker_costs_only_its_own_job(by, folder, log, tmp_path):
    marker = str(tmp_path / "marker")
    killer = Job(deadly, {"seed": 99, "log": str(log), "marker": marker, "deaths": 1, "by": by})
    jobs = [*draws(log, 2, 0.3), killer, *draws(log, 6, 0.05)[2:]]
    answers = run(jobs, folder=folder, workers=2)
    assert answers[2] == {"seed": 99}
    assert lines(log) == dict.fromkeys("012345", 1) | {"99": 2}


def test_a_job_that_ends_every_worker_is_given_up_after_three(folder, log, tmp_path):
    killer = Job(deadly, {"seed": 99, "log": str(log), "marker": str(tmp_path / "marker"), "deaths": 100})
    with pytest.raises(WorkerDiedError, match=r"3 processes ended .* job sweep_jobs.deadly\(seed=99,.* exit code 3") as caught:
        run([killer, *draws(log, 4)], folder=folder, workers=2)
    assert f"4 of 5 jobs are finished and kept in {folder}" in caught.value.__notes__[0]
    assert lines(log) == dict.fromkeys("0123", 1) | {"99": 3}
    assert len(list(folder.iterdir())) == 4


def test_an_executor_that_loses_its_workers_ends_the_sweep(folder, log, tmp_path):
    killer = Job(deadly, {"seed": 99, "log": str(log), "marker": str(tmp_path / "marker"), "deaths": 1})
    jobs = [*draws(log, 2), killer, *draws(log, 6)[2:]]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        with pytest.raises(WorkerDiedError, match=r"the executor lost its workers .*the same call goes on from there"):
            run(jobs, folder=folder, executor=executor)
        with pytest.raises(WorkerDiedError, match="0 of 7 jobs are finished; name a folder"):
            run(jobs, executor=executor)
    assert len(list(folder.iterdir())) == 2
    run(jobs, folder=folder, workers=1)
    assert lines(log) == dict.fromkeys("012345", 1) | {"99": 2}


@pytest.mark.parametrize("where", ["here", "pool", "threads"])
def test_an_exception_waits_for_the_others_and_names_its_job(where, folder, log):
    failures = [Job(failing, {"seed": seed, "log": str(log), "how": "value"}) for seed in (7, 8)]
    jobs = [draws(log)[0], *failures, *draws(log)[1:]]
    calls = []
    with ThreadPoolExecutor(2) as threads:
        place = {"here": {}, "pool": {"workers": 2}, "threads": {"executor": threads}}[where]
        with pytest.raises(ValueError, match=r"^7\n") as caught:
            run(jobs, folder=folder, progress=lambda *now: calls.append(now), **place)
    note = f"raised by the job sweep_jobs.failing(seed=7, log={str(log)!r}"[:60]
    assert note in caught.value.__notes__[-1]
    assert f"2 jobs failed; 4 of 6 jobs are finished and kept in {folder}" in caught.value.__notes__[-1]
    assert calls == [(done, 6) for done in range(7)]
    assert lines(log) == dict.fromkeys("012378", 1)
    if where == "pool":
        assert "in failing" in caught.value.__notes__[0]  # the traceback, from the other process


@pytest.mark.parametrize(("how", "said"), [("pair", "PairError: 5 and two"), ("exit", r"must return, got sys.exit\(7\)")])
def test_exceptions_that_do_not_travel_are_said(how, said, log):
    job = Job(failing, {"seed": 5, "log": str(log), "how": how})
    with pytest.raises(RuntimeError, match=said):
        run([job], workers=1)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor, pytest.raises(RuntimeError, match=said):
        run([job], executor=executor)
    with pytest.raises(sweep_jobs.PairError if how == "pair" else RuntimeError):
        run([job])


def test_arguments_that_cannot_be_sent_are_said(log):
    unsent = Nonlinearity("own", lambda z: np.tanh(z), lambda z: 1 - np.tanh(z) ** 2)
    job = Job(train, {"problem": replace(CATALOGUE["single"], model=ResNet(unsent)), "width": 8, "seed": 0})
    with pytest.raises(TypeError, match=r"sent to another process \(pickled\)"):
        run([job, *draws(log, 2)], workers=1)
    assert lines(log) == {"0": 1, "1": 1}


@pytest.mark.parametrize("where", ["here", "pool", "threads"])
def test_an_interrupted_sweep_keeps_what_is_finished(where, folder, log):
    """Jobs of a pool of ours are ended, those of an executor that have not begun are cancelled."""
    jobs = [*draws(log, 2), *draws(log, 12, 30.0 if where == "pool" else 0.2)[2:]]

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    begin = time.monotonic()
    with ThreadPoolExecutor(1) as threads:
        place = {"here": {}, "pool": {"workers": 3}, "threads": {"executor": threads}}[where]
        with pytest.raises(KeyboardInterrupt):
            run(jobs, folder=folder, progress=stop, **place)
    assert time.monotonic() - begin < SOON
    assert len(list(folder.iterdir())) == 2
    assert len(lines(log)) <= 5


@linux
def test_ctrl_c_at_a_terminal_ends_the_sweep_and_its_workers(folder, log):
    """The signal goes to the whole group of processes: the parent says so once, and the workers say nothing."""
    with script("draw", folder, log, 6, 60, 2, start_new_session=True, stderr=subprocess.PIPE) as process:
        until(lambda: sum(lines(log).values()) == 2)
        family = children(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate(timeout=SOON)[1]
    assert said.count("Traceback") == 1
    assert said.rstrip().endswith("KeyboardInterrupt")
    until(lambda: not any(map(alive, family)))


def test_a_script_without_a_guard_is_told(tmp_path):
    text = "import math\nfrom limits.sweeps import Job, run\nrun([Job(dict, {'a': 1.0})] * 2, workers=2)\n"
    (tmp_path / "script.py").write_text(text)
    done = subprocess.run([sys.executable, tmp_path / "script.py"], text=True, capture_output=True, timeout=SOON)
    assert done.returncode == 1
    assert "WorkerDiedError: a worker process could not start (exit code 1): a script must call" in done.stderr


def test_a_full_disk_ends_the_sweep_with_nothing_half_written(folder, log, monkeypatch):
    def full(file, *arrays, **rest):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        run(draws(log), folder=folder)
    assert not list(folder.iterdir())
