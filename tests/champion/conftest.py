"""Stores of every kind, and runs of a study whose best one wants to be champion."""

from tests.store.conftest import moto, moto_endpoint, nothing_of_the_user, s3, store, url  # noqa: F401  (fixtures)
