"""Compare-and-swap on servers that do not obey conditions: claims that keep others out, and a look back afterwards.

Who wants to write an object first writes a claim beside it and lists all claims. Only who finds no other goes on; so
two never do, if a server's lists show at once what was written, as those of S3 do. Unlike with conditions, a request
that a network delays by more than a claim lasts can still overwrite another's.
"""

import random
import time
import uuid
from collections.abc import Mapping

from nofrost.errors import UnavailableError
from nofrost.store.base import Store, StoredObject, SwapError

# Seconds after which a claim is taken for that of a killed process, by the server's clock; and in which, by our own, a
# claim has to be used, so that nobody takes it for one.
_LIFE_S, _USE_S = 60.0, 20.0
# Seconds to wait for others, at most in one pause and together.
_PAUSE_S, _PATIENCE_S = 0.5, 120.0


def swap_by_claim(store: Store, name: str, content: bytes, expected: str | None) -> str:
    """Do what :meth:`nofrost.store.base.Store.swap` does, without conditions of the server."""
    prefix, own = f"{name}.claims/", f"{name}.claims/{uuid.uuid4().hex}"
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        begin = time.monotonic()
        store.put(own, b"")
        try:
            claims = store.objects(prefix)
            if own in claims and not _others(claims, own):
                current = store.version(name)
                if current and current.content == content:
                    return current.tag
                if (current.tag if current else None) != expected:
                    raise SwapError(name, store.url)
                if time.monotonic() - begin < _USE_S:
                    store.put(name, content)
                    written = store.version(name)
                    if not written or written.content != content:
                        raise SwapError(name, store.url)
                    return written.tag
        finally:
            store.delete([own])
        time.sleep(random.uniform(0.1, 1) * _PAUSE_S)
    raise UnavailableError(f"{name} in {store.url} is being written by others all the time: try again later")


def _others(claims: Mapping[str, StoredObject], own: str) -> bool:
    """Return whether another claim stands that is not a dead one's."""
    alive = claims[own].changed - _LIFE_S
    return any(claim.changed >= alive for name, claim in claims.items() if name != own)
