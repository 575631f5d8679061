"""Tasks: a task pulls the inputs of a stage by their refs, runs the stage and pushes its output.

The components of the pipeline and the training container call these. Configuration comes as JSON or YAML text,
folders as :class:`nofrost.store.Output` text (``data/dataset@<md5>.dir:<size>:<files>``), so that Kubeflow's cache
compares content: refs, configuration and image. A task ends like a command: with a message and exit code 2 for
wrong input, 143 when it was stopped after saving, 200 when other processes of a training are gone.
"""

from nofrost.cluster.job.spec import Training
from nofrost.tasks.augment_tasks import augment, augment_shard
from nofrost.tasks.champion_tasks import gate, promote, resolve
from nofrost.tasks.run_end import finish, record_outputs, write_candidate
from nofrost.tasks.stages import evaluate, evaluate_shard, prepare, report, train
from nofrost.tasks.study_check import check_study
from nofrost.tasks.test_set_task import prepare_test_sets

__all__ = [
    "Training",
    "augment",
    "augment_shard",
    "check_study",
    "evaluate",
    "evaluate_shard",
    "finish",
    "gate",
    "prepare",
    "prepare_test_sets",
    "promote",
    "record_outputs",
    "report",
    "resolve",
    "train",
    "write_candidate",
]
