"""Whether a store holds what a ref stands for."""

from __future__ import annotations

import hashlib

from nofrost.errors import UserError
from nofrost.store.base import MissingError, Store
from nofrost.store.pull import files_of
from nofrost.store.ref import Ref
from nofrost.store.threads import for_each
from nofrost.telemetry import progress

_NAMED = 3  # so many of the objects that are not as they should be are named


def verify(ref: Ref, store: Store) -> None:
    """Read every object of `ref` and compare it with its checksum; nothing is written anywhere.

    Raises:
        UserError: objects are missing or altered; the sentence names some of them.
    """
    md5s = set(files_of(ref, store).values())
    faults: list[str] = []

    def check(md5: str) -> None:
        digest = hashlib.md5(usedforsecurity=False)
        try:
            for piece in store.read(md5):
                digest.update(piece)
        except MissingError:
            faults.append(f"{md5} is missing")
        else:
            if digest.hexdigest() != md5:
                faults.append(f"{md5} is altered or cut off")

    with progress(f"verifying {ref.md5}", total=len(md5s)) as shown:
        for_each(check, md5s, jobs=store.jobs, done=lambda _: shown.advance())
    if faults:
        named = ", ".join(sorted(faults)[:_NAMED]) + (", ..." if len(faults) > _NAMED else "")
        raise UserError(
            f"{store.url} does not hold {ref.md5}: of {len(md5s)} objects {len(faults)} are wrong ({named}): "
            "delete those that are altered, then store the content again"
        )
