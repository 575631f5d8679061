"""The task that makes the further test sets of a study, and their sources where they are not on this machine."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from nofrost.config import TestSets, TestSetSpec, parse_part
from nofrost.files import work_path
from nofrost.store import Ref, default_store, open_store, pull
from nofrost.store.location import SCHEME
from nofrost.store.source_files import local_source
from nofrost.tasks.ascii_text import from_ascii
from nofrost.tasks.labels import test_sets_label
from nofrost.tasks.task_exit import exit_on_error
from nofrost.tasks.workspace import is_ref, workspace

TEST_SETS = "data/test-sets"
NO_PATH = TestSetSpec(source="").path


@exit_on_error(test_sets_label)
def prepare_test_sets(spec: str, suite_id: str, source: str, dataset: str, store: str) -> str:
    """Make the further test sets of an ood suite of a study, for the dataset of the study.

    Args:
        spec: the test sets, as JSON. Their paths are refs, ``s3://...``, or begin with the name of the study's
            ``dataset.path``.
        suite_id: the name of the suite in its study.
        source: ref of the source data at ``dataset.path``; empty for a source that needs no path.
        store: URL of the store.

    Returns:
        The output ``data/test-sets/<suite>``, with nothing but its metrics and record if there are no test sets.
    """
    from nofrost.prepare import run_test_sets

    specs = parse_part(TestSets, from_ascii(spec), f"suites.ood.{suite_id}").test_sets
    with workspace(store) as work:
        path = f"{TEST_SETS}/{suite_id}"
        out, folder = work.folder / path, work.folder / "source"
        # a source that needs no path has the default one
        inside = {name: each for name, each in specs.items() if not is_remote(each.path) and each.path != NO_PATH}
        if source and inside:
            # all of them are inside one source
            name = Path(next(iter(inside.values())).path).parts[0]
            pull(Ref.parse(source), folder / name, work.store)
        found = {name: each.model_copy(update={"path": str(folder / each.path)}) for name, each in inside.items()}
        # in the order of the study
        with local_test_sets(TestSets(test_sets={**specs, **found}), out, store) as local:
            run_test_sets(local, work.pull(dataset), out)
        return work.push(path)


@contextmanager
def local_test_sets(config: TestSets, out: Path, store: str | None = None) -> Iterator[TestSets]:
    """Yield test sets whose sources are on this machine: those that are not are fetched beside `out`, and then deleted.

    Args:
        out: the folder that prepare-test-sets writes.
        store: URL of the store that refs are pulled from; None for the one of this workspace.

    Raises:
        UserError: a source cannot be fetched.
    """
    with ExitStack() as stack:
        found: dict[str, TestSetSpec] = {}
        for name, spec in config.test_sets.items():
            if is_ref(spec.path):
                folder = work_path(out, f"source-{name}")
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
                path = str(folder / name)
                pull(Ref.parse(spec.path), Path(path), open_store(store or default_store(), patient=True))
            else:
                path = stack.enter_context(local_source(spec.path, out.with_name(f"{out.name}-{name}")))
            found[name] = spec.model_copy(update={"path": path})
        yield TestSets(test_sets=found)


def is_remote(path: str) -> bool:
    """Return whether the source of a test set is in a store or on S3, and not on this machine."""
    return is_ref(path) or path.startswith(SCHEME)
