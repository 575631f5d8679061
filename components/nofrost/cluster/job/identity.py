"""By what the pods and jobs of a run are known: environment variables and a label."""

# Label of the jobs of a run, whose value is its id.
RUN_LABEL = "nofrost/run"
# Id of the run; set in every pod of a run. Without it there is no run.
RUN_ID = "NOFROST_RUN_ID"
# Name of the training job; set in its pods alone.
JOB_NAME = "NOFROST_JOB"
# What every pod of a training job has beside those that begin with NOFROST_: the one folder that can be written.
FIXED_ENV = {"HOME": "/tmp"}
