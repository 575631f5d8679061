"""One place decides from the launcher's variables how many processes there are, and which of them speaks."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from nofrost.cli.options import as_one_of_several
from nofrost.cli.stages import train
from nofrost.errors import PeerLostError, UserError
from nofrost.ranks import Node, ProcessRank, forget_rank_of_pod, process_rank, this_node

MEETING = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
JOB = {"PET_NNODES": "2", "PET_NODE_RANK": "1", "PET_MASTER_ADDR": "job-master-0", "PET_MASTER_PORT": "23456"}
TWO = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", **MEETING}


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*TWO, *JOB, "LOCAL_WORLD_SIZE", "PET_NPROC_PER_NODE", "TORCHELASTIC_ERROR_FILE"):
        monkeypatch.delenv(name, raising=False)


def set_all(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"RANK": "1"},
        {"RANK": "x"},
        {"WORLD_SIZE": "2"},
        {"RANK": "", "WORLD_SIZE": "2"},
        {"LOCAL_RANK": "3"},
        {"RANK": "0", "WORLD_SIZE": "1"},
        {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "x", "MASTER_PORT": "x"},
        MEETING,
        {"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_LOCALID": "1"},
        {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "PMI_RANK": "1", "PMI_SIZE": "2"},
    ],
)
def test_without_both_variables_there_is_one_process_which_speaks(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all(monkeypatch, variables)
    assert process_rank() == ProcessRank(0, 1, 0)
    with as_one_of_several() as prints:
        assert prints
    with pytest.raises(UserError, match="wrong"), as_one_of_several():
        raise UserError("wrong")


def test_torchrun_says_rank_size_and_place_on_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, {**TWO, "RANK": "5", "WORLD_SIZE": "8"})
    assert process_rank() == ProcessRank(5, 8, 1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert process_rank() == ProcessRank(5, 8, 1, 4)
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    monkeypatch.delenv("LOCAL_RANK")
    assert process_rank() == ProcessRank(5, 8, 0)


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"MASTER_ADDR": ""}, ("process 1 of 2", "MASTER_ADDR is not set")),
        ({"MASTER_PORT": ""}, ("process 1 of 2", "MASTER_PORT is not set")),
        ({"MASTER_PORT": "http"}, ("MASTER_PORT", "'http'")),
        ({"MASTER_PORT": "65536"}, ("MASTER_PORT", "65536")),
        ({"MASTER_PORT": "0"}, ("MASTER_PORT", "0")),
        ({"RANK": "-1"}, ("RANK", "'-1'")),
        ({"RANK": "1.0"}, ("RANK", "'1.0'")),
        ({"RANK": " 1"}, ("RANK", "' 1'")),
        ({"RANK": "\u0661"}, ("RANK", "'\u0661'")),
        ({"RANK": "9" * 5000}, ("RANK", "999")),
        ({"RANK": "2"}, ("RANK is 2", "WORLD_SIZE is 2")),
        ({"RANK": "1", "WORLD_SIZE": "1"}, ("RANK is 1", "WORLD_SIZE is 1")),
        ({"WORLD_SIZE": "two"}, ("WORLD_SIZE", "'two'")),
        ({"WORLD_SIZE": "0"}, ("WORLD_SIZE is 0",)),
        ({"LOCAL_RANK": "-1"}, ("LOCAL_RANK", "'-1'")),
    ],
)
def test_what_contradicts_itself_is_a_sentence_in_every_process(
    changes: dict[str, str], facts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all(monkeypatch, {**TWO, **changes})
    done = CliRunner().invoke(train, ["--recipe", "no-such", "--dataset", "d", "--out", "o"])
    assert isinstance(done.exception, UserError)
    for fact in (*facts, "torchrun"):
        assert fact in str(done.exception)
    assert len(str(done.exception)) < 400


def test_the_first_on_each_machine_speaks_of_errors_and_everyone_of_a_lost_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_all(monkeypatch, TWO)
    with as_one_of_several() as prints:
        assert not prints
    with pytest.raises(SystemExit) as end, as_one_of_several():
        raise UserError("wrong")
    assert end.value.code == 2
    with pytest.raises(PeerLostError, match="lost"), as_one_of_several():
        raise PeerLostError("lost")
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(UserError, match="wrong"), as_one_of_several():
        raise UserError("wrong")


@pytest.mark.parametrize(
    ("variables", "nodes", "gpus", "expected"),
    [
        ({}, 1, 0, Node()),
        ({}, 1, 8, Node()),
        ({"PET_NNODES": "1", "PET_NODE_RANK": "x"}, 1, 0, Node()),
        (JOB, 2, 0, Node(1, 2, "job-master-0", 23456)),
        ({**JOB, "PET_NPROC_PER_NODE": "auto"}, 2, 8, Node(1, 2, "job-master-0", 23456)),
        ({**JOB, "PET_NPROC_PER_NODE": "8"}, 2, 8, Node(1, 2, "job-master-0", 23456)),
        ({**JOB, "PET_NPROC_PER_NODE": "16"}, 2, 0, Node(1, 2, "job-master-0", 23456)),
    ],
)
def test_the_operator_says_which_node_this_is(
    variables: dict[str, str], nodes: int, gpus: int, expected: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all(monkeypatch, variables)
    assert this_node(nodes, gpus) == expected


def test_the_rank_of_a_pod_is_not_that_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, {**JOB, **TWO})
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "nofrost")
    forget_rank_of_pod()
    assert process_rank() == ProcessRank(1, 2, 1)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    forget_rank_of_pod()
    assert process_rank() == ProcessRank()
    set_all(monkeypatch, TWO)
    monkeypatch.delenv("PET_NNODES")
    forget_rank_of_pod()
    assert process_rank() == ProcessRank(1, 2, 1)


@pytest.mark.parametrize(
    ("variables", "nodes", "gpus", "facts"),
    [
        ({}, 2, 0, ("--nodes is 2", "PET_NNODES is not set", "PyTorchJob")),
        ({**JOB, "PET_MASTER_ADDR": ""}, 2, 0, ("PET_MASTER_ADDR is not set",)),
        (JOB, 1, 0, ("PET_NNODES is 2", "--nodes is 1")),
        (JOB, 3, 0, ("PET_NNODES is 2", "--nodes is 3")),
        ({**JOB, "PET_NNODES": "1:2"}, 2, 0, ("PET_NNODES is '1:2'",)),
        ({**JOB, "PET_NODE_RANK": "2"}, 2, 0, ("PET_NODE_RANK is 2",)),
        ({**JOB, "PET_NODE_RANK": "-1"}, 2, 0, ("PET_NODE_RANK is '-1'",)),
        ({**JOB, "PET_MASTER_PORT": "0"}, 2, 0, ("PET_MASTER_PORT is 0",)),
        ({**JOB, "PET_MASTER_PORT": "tcp"}, 2, 0, ("PET_MASTER_PORT is 'tcp'",)),
        ({**JOB, "PET_NPROC_PER_NODE": "4"}, 2, 8, ("PET_NPROC_PER_NODE is 4", "--gpus is 8")),
    ],
)
def test_what_the_operator_and_the_command_disagree_on_is_a_sentence(
    variables: dict[str, str], nodes: int, gpus: int, facts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all(monkeypatch, variables)
    with pytest.raises(UserError) as error:
        this_node(nodes, gpus)
    for fact in facts:
        assert fact in str(error.value)
