"""Every metric that this project exports, stated once: `nofrost metrics list` prints this table, and all else uses it.

Names and units are those of Prometheus: base units, shares in [0, 1] as ``_ratio``, moments as ``_timestamp_seconds``
(seconds since 1970), counters as ``_total``. No label has values without end: there is none for a run, a pod or a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["gauge", "counter", "histogram"]
Source = Literal["endpoint", "pushgateway"]


@dataclass(frozen=True)
class Fact:
    """The value of a metric, to be pushed.

    Attributes:
        labels: values of the labels of the metric, in its order.
    """

    metric: Metric
    value: float
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Metric:
    """A metric.

    Attributes:
        name: with the prefix ``nofrost_``.
        kind: what Prometheus calls the type.
        unit: seconds, bytes, ratio; empty for a number without one.
        help: what it is.
        labels: beside those that all metrics of its source have (:data:`ENDPOINT_LABELS`, :data:`KEY_LABELS`).
        source: where Prometheus finds it: at a running process, or at the Pushgateway after its end.
    """

    name: str
    kind: Kind
    unit: str
    help: str
    labels: tuple[str, ...] = ()
    source: Source = "endpoint"

    def fact(self, value: float, **labels: str) -> Fact:
        """Return a value to be pushed.

        Raises:
            TypeError: the labels are not those of the metric, or it belongs to the endpoint.
        """
        if set(labels) != set(self.labels) or self.source != "pushgateway":
            raise TypeError(f"{self.name} takes the labels {self.labels} at the {self.source}, not {tuple(labels)}")
        return Fact(self, value, tuple(labels[name] for name in self.labels))


# What every metric of an endpoint is labelled with; empty ones are left out by Prometheus.
ENDPOINT_LABELS = ("stage", "recipe", "seed")
# What every pushed metric is labelled with: the grouping key at the gateway. A push of a task replaces what the same
# task of the same study pushed before.
KEY_LABELS = ("job", "study", "task")


def _pushed(name: str, unit: str, text: str, *labels: str) -> Metric:
    return Metric(name, "gauge", unit, text, labels, "pushgateway")


# Of every stage.
STAGE_PROGRESS = Metric("nofrost_stage_progress_ratio", "gauge", "ratio", "Share of the current work that is done.")
STAGE_LAST_PROGRESS = Metric(
    "nofrost_stage_last_progress_timestamp_seconds",
    "gauge",
    "seconds",
    "When a unit of work, such as a training step or a batch of an evaluation, was last finished, or the stage began.",
)
STAGE_MEMORY = Metric(
    "nofrost_stage_memory_bytes",
    "gauge",
    "bytes",
    "Memory of this process: resident, and that of torch on the GPU now (gpu) and at its peak (gpu-peak).",
    ("kind",),
)

# Of a training. What all processes share, such as the loss, is exported by process 0 of the job alone.
TRAIN_STEPS = Metric("nofrost_train_steps_total", "counter", "", "Steps of the optimiser's schedule by this process.")
TRAIN_IMAGES = Metric(
    "nofrost_train_images_total", "counter", "", "Images of the batches of these steps, of all processes together."
)
TRAIN_STEP_DURATION = Metric(
    "nofrost_train_step_duration_seconds", "histogram", "seconds", "Time of a step, with the wait for its batch."
)
TRAIN_DATA_WAIT = Metric(
    "nofrost_train_data_wait_seconds_total", "counter", "seconds", "Time that steps have waited for their batch."
)
TRAIN_ATTACK_SHARE = Metric(
    "nofrost_train_attack_ratio", "gauge", "ratio", "Share of a step that the attack takes, without the wait for data."
)
TRAIN_LOSS = Metric("nofrost_train_loss", "gauge", "", "Mean loss of the epoch so far.")
TRAIN_LEARNING_RATE = Metric("nofrost_train_learning_rate", "gauge", "", "Learning rate of the schedule.")
TRAIN_GRADIENT_NORM = Metric(
    "nofrost_train_gradient_norm", "gauge", "", "l2 norm of the gradient of all weights, before it is clipped."
)
TRAIN_ACCURACY = Metric(
    "nofrost_train_accuracy_ratio",
    "gauge",
    "ratio",
    "Accuracy in the epoch so far (train) or after an epoch (selection), by view: clean, augmented, adversarial.",
    ("split", "view"),
)
TRAIN_ATTACK_GAP = Metric(
    "nofrost_train_attack_gap_ratio",
    "gauge",
    "ratio",
    "Accuracy under the attack of training (of a single step in Fast AT) less that under the attack of many steps on "
    "the selection split; it jumps in catastrophic overfitting.",
)
TRAIN_EPOCH = Metric("nofrost_train_epoch", "gauge", "", "Finished epochs.")
TRAIN_CHECKPOINT = Metric(
    "nofrost_train_checkpoint_timestamp_seconds",
    "gauge",
    "seconds",
    "When the state was last saved, or before the first save of this process, when its steps began.",
)
TRAIN_CHECKPOINT_INTERVAL = Metric(
    "nofrost_train_checkpoint_interval_seconds",
    "gauge",
    "seconds",
    "Time between two saves that is intended (NOFROST_SAVE_INTERVAL_S).",
)
TRAIN_CHECKPOINT_DURATION = Metric(
    "nofrost_train_checkpoint_duration_seconds", "gauge", "seconds", "How long the last save took."
)
TRAIN_RESTARTS = Metric(
    "nofrost_train_restarts_total",
    "counter",
    "",
    "Restarts of this training by what ended it before: stopped (SIGTERM), peer-lost, error, or killed without a word; "
    "on another machine than before, peer-lost and error are not known and count as killed.",
    ("cause",),
)
TRAIN_GOODPUT = Metric(
    "nofrost_train_goodput_ratio",
    "gauge",
    "ratio",
    "Time of steps that are kept, as a share of the time since the first start of this training.",
)
TRAIN_IMBALANCE = Metric(
    "nofrost_train_imbalance_ratio",
    "gauge",
    "ratio",
    "Time of a step in the slowest process by that in the fastest, without the wait for each other.",
)

# Of an evaluation.
EVALUATION_IMAGES = Metric(
    "nofrost_evaluation_images_total", "counter", "", "Images measured by this process, once for each measurement."
)
EVALUATION_ACCURACY = Metric(
    "nofrost_evaluation_accuracy_ratio",
    "gauge",
    "ratio",
    "Share of the images of this evaluation or shard that a finished measurement leaves right.",
    ("measurement",),
)

# End facts, pushed.
STUDY_ACCURACY = _pushed(
    "nofrost_study_accuracy_ratio",
    "ratio",
    "Accuracy on the test split by condition: clean, an attack, or worst-case; with the budget of the threat.",
    *("recipe", "seed", "suite", "condition", "norm", "eps"),
)
STUDY_OOD_ACCURACY = _pushed(
    "nofrost_study_ood_accuracy_ratio",
    "ratio",
    "Mean accuracy over the severities of a corruption; over the common corruptions for the corruption mean.",
    *("recipe", "seed", "suite", "corruption"),
)
STUDY_ALARMS = _pushed(
    "nofrost_study_alarms",
    "",
    "1 for the status (pass, warn, fail) that each alarm of the adversarial evaluation has, 0 for the other two.",
    *("recipe", "seed", "suite", "alarm", "status"),
)
PIPELINE_SUCCESS = _pushed(
    "nofrost_pipeline_last_success_timestamp_seconds", "seconds", "When a run of the study last came to its end."
)
GATE_DECISION = _pushed("nofrost_gate_passed", "", "1 if the gate let the challenger pass, 0 if it did not.")
GATE_CRITERION = _pushed("nofrost_gate_criterion_passed", "", "1 if a criterion of the gate is met.", "criterion")
GATE_DIFFERENCE = _pushed(
    "nofrost_gate_difference_ratio",
    "ratio",
    "Challenger less champion on the same images, by criterion.",
    "criterion",
)
CHAMPION_PROMOTION = _pushed(
    "nofrost_champion_promotion_timestamp_seconds", "seconds", "When the champion of the study was promoted."
)
SCHEDULE_NEXT_RUN = _pushed(
    "nofrost_schedule_next_run_timestamp_seconds", "seconds", "When a schedule is to start its next run.", "schedule"
)
SCHEDULE_INTERVAL = _pushed(
    "nofrost_schedule_interval_seconds", "seconds", "Longest time between two runs of a schedule.", "schedule"
)
SCHEDULE_SUBMISSION = _pushed(
    "nofrost_schedule_submission_timestamp_seconds", "seconds", "When a schedule last submitted a run.", "schedule"
)


def _all() -> Iterator[Metric]:
    yield from (value for value in list(globals().values()) if isinstance(value, Metric))


METRICS: tuple[Metric, ...] = tuple(_all())
