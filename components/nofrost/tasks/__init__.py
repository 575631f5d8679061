"""Tasks: a stage between refs. A task fetches its inputs by ref, runs the stage, pushes the output by content.

This is what the components of the pipeline and the training container call. Configuration comes as JSON or YAML text,
directories as :class:`nofrost.store.Output` text (``data/dataset@<md5>.dir:<size>:<files>``), so that what Kubeflow
caches by is content: the refs, the configuration and the image. A task ends like the command line does: one sentence
and exit code 2 for wrong input, 143 when it was stopped after saving.
"""

from nofrost.tasks.finish import finish, write_candidate
from nofrost.tasks.plan import check_study, plan, plan_runs, plan_shards
from nofrost.tasks.stages import augment, evaluate, evaluate_shard, prepare, report, train

__all__ = [
    "augment",
    "check_study",
    "evaluate",
    "evaluate_shard",
    "finish",
    "plan",
    "plan_runs",
    "plan_shards",
    "prepare",
    "report",
    "train",
    "write_candidate",
]
