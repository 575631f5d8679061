"""What a study leaves in its folder while it is run: written there by `nofrost study run`, and read by the gallery."""

RUNNING = ".dvc/running"
"""The file that is there while an attempt has not written down what it took, also where it was killed."""
