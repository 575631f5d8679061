"""No launcher asks the API server for more than its Role allows, whatever happens to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.double.api_server import ApiServer
from tests.k8s.rights import asked
from tests.k8s.test_rights import role


@pytest.fixture(autouse=True)
def within_its_role(server: ApiServer) -> Iterator[None]:
    yield
    assert asked(server.requests) <= role("nofrost-launcher")
