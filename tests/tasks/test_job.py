"""A job of two nodes, each in a network namespace of its own, or of two processes on one: right, killed, cut off."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from nofrost import tasks
from nofrost.store import Output, Store, open_store, pull
from pipelines.local_nodes import free_port

SEED, KILLS = os.environ.get("NOFROST_SEED", "0"), int(os.environ.get("NOFROST_KILLS", "3"))
# Kinds of kills, and how the node ends on which one comes.
ENDS_OF_KILLED = {"rank": 128 + signal.SIGKILL, "starter": -signal.SIGKILL, "all": -signal.SIGKILL}
# How the other node ends. The ranks of a starter that was killed are told to stop, and save together with those of the
# other node, if they still can; None for a node that waits for one that never started.
ENDS_OF_OTHERS = {"rank": [200], "starter": [200, 143, None], "all": [-signal.SIGKILL]}
LIMIT_S = 150.0
# About half as long as starting up, on a machine with two cores.
EPOCHS = 30
# Two processes on one node without GPUs, which a user may not ask for.
COMMAND = "from nofrost import models; models.require_gpus = lambda count: None; from nofrost.cli import main; main()"
pytestmark = pytest.mark.slow


class Job:
    """A training on two nodes, or on one with two processes, each start of which is a new try.

    Args:
        prefixes: of the command of each node, such as those that enter a namespace.
        host: address of node 0.
    """

    def __init__(self, begun: Any, folder: Path, prefixes: Sequence[Sequence[str]], host: str, **changes: Any) -> None:
        self.folder, self.prefixes, self.host = folder, prefixes, host
        self.recipe = json.loads(begun.recipe)
        self.recipe["model"].update(normaliser="gn", groups=8)
        self.recipe.update(changes)
        self.begun = begun
        self.new_store()

    def new_store(self) -> None:
        """Go on with a store in which there is no save."""
        self.store = open_store(str(self.folder / f"store-{time.monotonic_ns()}"))
        Path(self.store.url).mkdir(parents=True)
        subprocess.run(["cp", "-r", f"{self.begun.store}/files", self.store.url], check=True)

    @property
    def arguments(self) -> list[str]:
        """The fields of a `Training` but for the store."""
        return [json.dumps(self.recipe), "st", "0", self.begun.dataset, self.begun.augmentation]

    @contextmanager
    def started(self, **environment: str) -> Iterator[list[subprocess.Popen[str]]]:
        """Start all nodes; at the end none of their processes is left."""
        (self.folder / "output").unlink(missing_ok=True)
        count = len(self.prefixes)
        names = ("recipe", "recipe-id", "seed", "dataset", "augmentation", "store")
        options = [f"--{name}={value}" for name, value in zip(names, [*self.arguments, self.store.url], strict=True)]
        options += [f"--output-file={self.folder / 'output'}", f"--nodes={count}", f"--gpus={2 if count == 1 else 0}"]
        shared = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", **environment}
        shared |= {"PET_NNODES": str(count), "PET_MASTER_ADDR": self.host, "PET_MASTER_PORT": str(free_port())}
        nodes = []
        for rank, prefix in enumerate(self.prefixes):
            log = (self.folder / f"log-{rank}").open("w")
            nodes.append(
                subprocess.Popen(
                    [*prefix, sys.executable, "-c", COMMAND, "task", "train", *options],
                    env={**shared, "PET_NODE_RANK": str(rank)},
                    stdout=log,
                    stderr=log,
                    text=True,
                )
            )
            log.close()
        try:
            yield nodes
        finally:
            for node in nodes:
                for pid in (*children(node.pid), node.pid):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                node.wait()

    def ends(self, nodes: Sequence[subprocess.Popen[str]]) -> list[int]:
        """Wait for the end of all nodes; return their exit codes."""
        return [node.wait(timeout=LIMIT_S) for node in nodes]

    def ends_of_killed(self, nodes: Sequence[subprocess.Popen[str]]) -> list[int | None]:
        """Like `ends`; None for a node that waits ten minutes for one that was killed before it had started."""

        def is_late(rank: int) -> bool:
            log = (self.folder / f"log-{rank}").read_text()
            return "which has not started yet" in log and "pulling dataset" not in log

        def has_ended(rank: int) -> bool:
            return nodes[rank].poll() is not None

        wait_until(lambda: all(has_ended(rank) or is_late(rank) for rank in range(len(nodes))), told=self.logs)
        codes = [node.poll() for node in nodes]
        for node in nodes:
            node.kill()
        return codes

    def has_save(self) -> bool:
        """Whether the store has a save of this training, which is deleted when it is done."""
        return any(name.endswith("/save") for name in self.store.objects("nofrost/"))

    def logs(self) -> str:
        return "\n".join((self.folder / f"log-{rank}").read_text() for rank in range(len(self.prefixes)))

    def run(self) -> dict[str, torch.Tensor]:
        """Run to the end, and return the weights."""
        with self.started() as nodes:
            assert self.ends(nodes) == [0] * len(nodes), self.logs()
        return self.weights()

    def weights(self) -> dict[str, torch.Tensor]:
        """The weights in the output of node 0."""
        return weights((self.folder / "output").read_text().strip(), self.store, self.folder)


def weights(output: str, store: Store, folder: Path) -> dict[str, torch.Tensor]:
    target = folder / f"pulled-{time.monotonic_ns()}"
    pull(Output.parse(output).ref, target, store)
    return load_file(target / "last.safetensors")


def children(pid: int) -> list[int]:
    """The processes that the main thread of a process has started."""
    with suppress(OSError):
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def lives(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def wait_until(condition: Callable[[], Any], limit_s: float = LIMIT_S, told: Callable[[], str] = str) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, told()
        time.sleep(0.02)


def ip(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def namespaces() -> Iterator[list[str]]:
    """Two network namespaces with a link between them; node 0 has the address 10.77.0.1."""
    names = [f"nofrost{os.getpid()}{side}" for side in "ab"]
    links = [f"nf{os.getpid()}{side}" for side in "ab"]
    try:
        try:
            for name in names:
                ip("netns", "add", name)
            ip("link", "add", links[0], "netns", names[0], "type", "veth", "peer", "name", links[1], "netns", names[1])
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"needs `ip` and the right to make network namespaces: {error}")
        for number, (name, link) in enumerate(zip(names, links, strict=True), start=1):
            ip("-n", name, "address", "add", f"10.77.0.{number}/24", "dev", link)
            ip("-n", name, "link", "set", link, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


@pytest.fixture
def two_nodes(namespaces: list[str]) -> list[list[str]]:
    """The commands that enter the namespaces."""
    return [["ip", "netns", "exec", name] for name in namespaces]


# All pairs of objective and normaliser are trained by two processes of one node in tests/train/test_world_sizes.py.
# Batch norm amplifies what rounding changes.
@pytest.mark.parametrize(
    ("objective", "model", "tolerance"),
    [
        ({"name": "sat"}, {"normaliser": "gn", "groups": 8}, 2e-5),
        ({"name": "trades"}, {"normaliser": "bn", "batch_statistics": 8}, 5e-4),
        ({"name": "mbnat"}, {"normaliser": "mbn", "batch_statistics": "all"}, 5e-4),
        ({"name": "free", "replays": 2}, {"normaliser": "nf"}, 2e-5),
    ],
    ids=["sat-gn", "trades-bn-groups", "mbnat-mbn-all", "free-nf"],
)
def test_two_nodes_end_with_the_loss_and_the_weights_of_one_process(
    objective: dict[str, Any],
    model: dict[str, Any],
    tolerance: float,
    begun: Any,
    two_nodes: list[list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    smooth = {"threat": {"norm": "l2", "eps": 0.5}, "attack": {"name": "pgd", "steps": 1}}
    smooth["model"] = {**json.loads(begun.recipe)["model"], **model}
    job = Job(begun, tmp_path, two_nodes, "10.77.0.1", objective=objective, **smooth)
    with job.started(NOFROST_JOB="job-1") as nodes:
        assert job.ends(nodes) == [0, 0], job.logs()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    alone = weights(tasks.train(tasks.Training(*job.arguments, begun.store)), open_store(begun.store), tmp_path)
    together = job.weights()
    assert together.keys() == alone.keys()
    for name, tensor in together.items():
        torch.testing.assert_close(tensor, alone[name], rtol=5 * tolerance, atol=tolerance, msg=name)
    losses = [
        [row["loss"] for row in json.loads((folder / "curves.json").read_text())]
        for folder in sorted(tmp_path.glob("pulled-*"))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    # Where the launcher looks; nobody but node 0 has written anything.
    assert job.store.get("nofrost/jobs/job-1/output").decode() == (tmp_path / "output").read_text().strip()
    assert list(job.store.names("nofrost/")) == ["nofrost/jobs/job-1/output"]


def test_the_cut_of_a_link_is_noticed_within_a_minute_on_both_sides(
    begun: Any, two_nodes: list[list[str]], namespaces: list[str], tmp_path: Path
) -> None:
    job = Job(begun, tmp_path, two_nodes, "10.77.0.1", schedule={"epochs": 5000, "batch_size": 32})
    link = f"nf{os.getpid()}b"
    with job.started() as nodes:
        wait_until(job.has_save)
        cut, seconds = time.monotonic(), []
        ip("-n", namespaces[1], "link", "set", link, "down")
        try:
            for node in nodes:
                node.wait(timeout=LIMIT_S)
                seconds.append(time.monotonic() - cut)
        finally:
            ip("-n", namespaces[1], "link", "set", link, "up")
        assert job.ends(nodes) == [200, 200], job.logs()
    assert max(seconds) < 60, seconds
    assert "has given no sign of life" in job.logs()


def ranks_of(node: subprocess.Popen[str]) -> list[int]:
    """The processes of a node that train."""
    found = []
    for pid in children(node.pid):
        with suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            found += [pid] if b"train" in words and b"task" not in words else []
    return found


def kill_at_random(nodes: Sequence[subprocess.Popen[str]], what: str, choice: random.Random) -> tuple[int, list[int]]:
    """Kill one rank, a node's starter, or all; return of which node (-1: it had ended) and which ranks are left."""
    node = choice.randrange(len(nodes))
    if what == "rank":
        wait_until(lambda: ranks_of(nodes[node]) or nodes[node].poll() is not None)
    ranks = [ranks_of(node) for node in nodes]
    starters = [each.pid for each in nodes]
    victims = {
        "rank": choice.sample(ranks[node], min(len(ranks[node]), 1)),
        "starter": [starters[node]],
        "all": [*starters, *(pid for each in ranks for pid in each)],
    }[what]
    for pid in victims:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return (node if victims else -1), [pid for each in ranks for pid in each if pid not in victims]


def check_ends(codes: Sequence[int | None], what: str, killed: int, *, is_done: bool, told: str) -> None:
    """Compare the exit codes of nodes after a kill with those that are right.

    Args:
        killed: the node on which it came; -1 if there was nothing to kill.
        is_done: whether the work is done, as only then a node may succeed.
    """
    for node, code in enumerate(codes):
        right = [] if killed < 0 else [ENDS_OF_KILLED[what]] if node == killed else ENDS_OF_OTHERS[what]
        assert code in right or (code == 0 and is_done), told


@pytest.mark.timeout(300 + 200 * KILLS)
@pytest.mark.parametrize("count", [1, 2])
def test_killed_at_random_moments_it_goes_on_and_ends_with_the_same_bits(
    count: int, begun: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    prefixes = request.getfixturevalue("two_nodes") if count == 2 else [[]]
    schedule = {"epochs": EPOCHS, "batch_size": 32}
    job = Job(begun, tmp_path, prefixes, "10.77.0.1" if count == 2 else "127.0.0.1", schedule=schedule)
    started = time.monotonic()
    undisturbed = job.run()
    seconds, choice = time.monotonic() - started, random.Random(f"{SEED} {count}")
    job.new_store()
    for number in range(KILLS):
        what = list(ENDS_OF_KILLED)[number % 3]
        with job.started() as nodes:
            wait = choice.uniform(0.1, 1.0) * seconds
            with suppress(subprocess.TimeoutExpired):
                nodes[0].wait(timeout=wait)
            killed, left = kill_at_random(nodes, what, choice)
            codes = job.ends_of_killed(nodes)
            print(f"kill {number} of {what} on node {killed} after {wait:.1f} s: {codes}", flush=True)
            wait_until(lambda pids=left: not any(map(lives, pids)), 90)
        told = f"{codes} after the kill of {what} on node {killed}\n{job.logs()}"
        check_ends(codes, what, killed, is_done=(tmp_path / "output").exists() or not job.has_save(), told=told)
        if (tmp_path / "output").exists():
            assert_equal(job.weights(), undisturbed)
            job.new_store()
    assert_equal(job.run(), undisturbed)


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]), name
