"""The task that makes the further test sets of a study."""

from pathlib import Path

from nofrost.config import TestSets, parse_part
from nofrost.store import Ref, pull
from nofrost.tasks.ascii_text import from_ascii
from nofrost.tasks.task_exit import exit_on_error
from nofrost.tasks.workspace import is_ref, workspace

TEST_SETS = "data/test-sets"


@exit_on_error(lambda **_: "prepare-test-sets")
def prepare_test_sets(spec: str, source: str, dataset: str, store: str) -> str:
    """Make the further test sets of a study for its dataset.

    Args:
        spec: the test sets, as JSON. Their paths are refs, or begin with the name of the study's ``dataset.path``.
        source: ref of the source data at ``dataset.path``; empty for a source that needs no path.
        store: URL of the store.

    Returns:
        The output ``data/test-sets``, with nothing but its metrics and record if there are no test sets.
    """
    from nofrost.prepare import run_test_sets

    specs = parse_part(TestSets, from_ascii(spec), "suites.ood").test_sets
    with workspace(store) as work:
        pulled: dict[Path, str] = {}
        found = {}
        for name, each in specs.items():
            if is_ref(each.path):
                path = work.folder / "test-sources" / name
                pulled[path] = each.path
            else:
                path = work.folder / "source" / each.path
                # all of these are inside one source
                pulled |= {work.folder / "source" / Path(each.path).parts[0]: source} if source else {}
            found[name] = each.model_copy(update={"path": str(path)})
        for path, ref in pulled.items():
            pull(Ref.parse(ref), path, work.store)
        run_test_sets(TestSets(test_sets=found), work.pull(dataset), work.folder / TEST_SETS)
        return work.push(TEST_SETS)
