"""The source data of a study, which pods cannot read from this machine: pushed by content."""

from __future__ import annotations

from pathlib import Path

from nofrost.config import Study
from nofrost.errors import UserError
from nofrost.prepare import resolve_source
from nofrost.store import Ref, Store, push


def source_ref(study: Study, given: str | None, store: Store) -> str:
    """Return the ref of the study's source data; empty when the source reads no files.

    Args:
        given: the ref, if somebody pushed the data before; None pushes what stands at ``dataset.path``.

    Raises:
        UserError: `given` is no ref, nothing is at ``dataset.path``, or the store cannot be written.
    """
    if given is not None:
        return str(Ref.parse(given))
    if not resolve_source(study.dataset, study.name, ("dataset",)).needs_path:
        return ""
    path = Path(study.dataset.path)
    if not path.exists():
        raise UserError(
            f"dataset.path {study.dataset.path} is not there: put the images of source {study.dataset.source!r} there, "
            "or give their ref with --data-ref"
        )
    return str(push(path, store))
