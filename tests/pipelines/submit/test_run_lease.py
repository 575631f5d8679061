"""A submission beside a schedule of the same name: one run at a time, by the lease in the store."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("kfp")

from nofrost.store import find_lease, open_store
from nofrost.tasks.run_lease import RunGoesOnError, give_to_run, take_run_lease
from nofrost.tasks.run_record import RunRecord, write_record
from tests.store.conftest import moto, moto_endpoint  # noqa: F401  (fixtures)

ST = 'runs.recipe=["st"]'


def test_a_run_has_the_lease_of_its_name(kfp: Any, submit: Any, moto: str) -> None:  # noqa: F811
    submit(ST, store=moto)
    lease = find_lease(open_store(moto), "digits")
    assert lease is not None
    assert lease.holder == "submitted run run-1"


def test_beside_a_scheduled_run_of_the_name_none_is_started(kfp: Any, submit: Any, moto: str) -> None:  # noqa: F811
    store = open_store(moto)
    give_to_run(take_run_lease(store, "weekly", "job", scheduled=True), "scheduled", scheduled=True)
    with pytest.raises(RunGoesOnError, match=r"weekly has a scheduled run scheduled .*give another name"):
        submit(ST, store=moto, run_name="weekly")
    assert kfp.runs == []
    submit(ST, store=moto)
    write_record(RunRecord("scheduled", "succeeded", "", [], "", ""), store)
    submit(ST, store=moto, run_name="weekly")
    assert len(kfp.runs) == 2


def test_two_that_are_submitted_run_beside_each_other(kfp: Any, submit: Any, moto: str) -> None:  # noqa: F811
    for _ in range(2):
        submit(ST, store=moto)
    assert len(kfp.runs) == 2


def test_names_that_no_schedule_has_need_no_lease(kfp: Any, submit: Any, moto: str) -> None:  # noqa: F811
    submit(ST, store=moto, run_name="My run, again")
    assert open_store(moto).names("nofrost/") == []


def test_a_store_that_cannot_be_reached_is_a_remark(kfp: Any, submit: Any, capsys: pytest.CaptureFixture[str]) -> None:
    submit(ST)
    assert len(kfp.runs) == 1
    assert "whether a schedule has started a run of the name digits is not known" in capsys.readouterr().err
