"""The nodes of a training as groups of processes of this machine: what a job of a cluster would start on each node."""

from __future__ import annotations

import os
import random
import socket
from dataclasses import dataclass
from pathlib import Path

from pipelines.run_log import Task

ADDRESS = "127.0.0.1"
# Below those that Linux gives to outgoing connections, any of which could take the port while node 0 loads torch.
_PORTS = range(20000, 32768)
# Of `launch` alone: they make the job.
_OF_THE_JOB = ("--image", "--settings")


@dataclass(frozen=True)
class NodeCommand:
    """What one node of a training runs.

    Attributes:
        task: the training, named after the node.
        command, variables: of its starter.
    """

    task: Task
    command: list[str]
    variables: dict[str, str]


def node_commands(launch: Task) -> list[NodeCommand]:
    """Return what the nodes of a training run, the first one first, which alone writes the output.

    The nodes share the GPUs of this machine in the order of CUDA_VISIBLE_DEVICES, each with as many as it asks for; if
    there are too few, the last ones find none and say so.

    Args:
        launch: the task that would start the job, with the options of its command as parameters.
    """
    options = [(name, value) for name, value in launch.parameters.items() if name not in _OF_THE_JOB]
    command = ["nofrost", "task", "train", *(word for option in options for word in option)]
    nodes, gpus = int(launch.parameters["--nodes"]), int(launch.parameters["--gpus"])
    port = free_port()
    return [
        NodeCommand(
            Task("train", f"{launch.label}, node {node}", log=_beside(launch.log, node)),
            command,
            _variables(node, nodes, gpus, port),
        )
        for node in range(nodes)
    ]


def _beside(log: Path, node: int) -> Path:
    return log if node == 0 else log.with_name(f"{log.stem}-node-{node}{log.suffix}")


def _variables(node: int, nodes: int, gpus: int, port: int) -> dict[str, str]:
    """Return what both operators of Kubeflow tell the starter of a node, and which GPUs it has."""
    if nodes == 1:
        return {}
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    first, last = node * gpus, (node + 1) * gpus
    devices = [str(number) for number in range(first, last)] if listed is None else listed.split(",")[first:last]
    return {
        "PET_NNODES": str(nodes),
        "PET_NODE_RANK": str(node),
        "PET_NPROC_PER_NODE": str(max(gpus, 1)),
        "PET_MASTER_ADDR": ADDRESS,
        "PET_MASTER_PORT": str(port),
        "CUDA_VISIBLE_DEVICES": ",".join(devices),
    }


def free_port() -> int:
    """Return a port that is free at this moment. That another program takes it before node 0 does is accepted: then
    node 0 says so, and the same command may be run again.
    """
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as listener:
            try:
                listener.bind((ADDRESS, port))
            except OSError:
                continue
        return port
