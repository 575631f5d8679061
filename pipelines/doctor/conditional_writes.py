"""Whether the store refuses writes that another writer has overtaken: leases and pointers rely on that."""

from collections.abc import Iterator

from nofrost.errors import UnavailableError, UserError
from nofrost.store import open_store
from nofrost.store.s3 import S3Store
from pipelines.doctor.finding import Finding

CREATE, SWAP = "S3 create-if-absent", "S3 compare-and-swap"
REMEDY = "upgrade the server, or use one that has conditional writes, as AWS does"


def check_store(url: str) -> Iterator[Finding]:
    """Write a small object twice in both ways, of which the second has to fail, and delete it."""
    try:
        store = open_store(url)
        if not isinstance(store, S3Store):
            raise UserError(f"{url} is a folder of this machine, which pods cannot see: give one on S3")
        conditions = store.probe_conditions()
    except UserError as error:
        for check in (CREATE, SWAP):
            yield Finding(check, "unknown" if isinstance(error, UnavailableError) else "missing", str(error))
        return
    for check, header, works in ((CREATE, "If-None-Match", conditions.create), (SWAP, "If-Match", conditions.swap)):
        if works:
            yield Finding(check, "ok", f"{store.url} obeys {header}")
        else:
            yield Finding(check, "missing", f"{store.url} does not obey {header}: {REMEDY}")
