"""Tasks of the augmentation: all images, or shards of them and their merge."""

from collections.abc import Sequence

from nofrost.config import AugmentationSpec, parse_part
from nofrost.config.trainings import augmentation_path, dataset_name
from nofrost.store import Output
from nofrost.tasks.ascii_text import from_ascii
from nofrost.tasks.labels import augment_label
from nofrost.tasks.task_exit import exit_on_error
from nofrost.tasks.workspace import workspace


@exit_on_error(augment_label)
def augment_shard(spec: str, dataset: str, shard: str, store: str) -> str:
    """Make one shard of the augmentation sets, such as ``0/4``; `spec` is the study's augmentation, as JSON.

    Returns:
        The output ``data/augmentation.shard-<index>-of-<count>``, of a further dataset one below
        ``data/augmentations``.
    """
    from nofrost.augment import run
    from nofrost.shard import TaskShard

    config = parse_part(AugmentationSpec, from_ascii(spec), "augmentation")
    part = TaskShard.parse(shard)
    path = f"{_path_for(dataset)}.shard-{part.index}-of-{part.count}"
    with workspace(store) as work:
        run(work.pull(dataset), config, work.folder / path, part)
        return work.push(path)


@exit_on_error(augment_label)
def augment(spec: str, dataset: str, store: str, shards: Sequence[str] = ()) -> str:
    """Merge the shards of the augmentation sets of `dataset`, or without any make all images; the result is the same.

    Args:
        spec: the study's augmentation, as JSON.
        shards: outputs of `augment_shard`, all of them or none.

    Returns:
        The output ``data/augmentation``, of a further dataset ``data/augmentations/<name>``.
    """
    from nofrost.augment import merge, run

    config = parse_part(AugmentationSpec, from_ascii(spec), "augmentation")
    with workspace(store) as work:
        data, out = work.pull(dataset), work.folder / _path_for(dataset)
        if shards:
            merge(data, config, [work.pull(shard) for shard in shards], out)
        else:
            run(data, config, out)
        return work.push(_path_for(dataset))


def _path_for(dataset: str) -> str:
    return augmentation_path(dataset_name(Output.parse(dataset).path))
