"""Environment variables by which pods know where they belong."""

# Id of the run; set in every pod of a run. Without it there is no run.
RUN_ID = "NOFROST_RUN_ID"
# Name of the training job; set in its pods alone.
JOB = "NOFROST_JOB"
