"""How the rows reach Ray Train's workers: by reference, or streamed by Ray Data.

Worker r of w trains on the rows whose places leave r when they are divided by w, either way: a fit
that goes on after a kill ends exactly as if it had not been cut off. Ray Data's own split gives a
block to whichever worker asks first, so that its shards differ from one attempt to the next; it is
therefore told not to split, and each worker keeps its own rows of the stream that goes by.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from agentloop.training.fits import Part

# Workers of one node read an object in place, however large; this is for what must travel.
STREAMED_BYTES = 256 << 20
BLOCK_BYTES = 32 << 20
TRAIN, PLACE, TARGET, FEATURES = "train", "place", "target", "features"


def offered(train: Part, tune: Part | None, nodes: int) -> tuple[Any, dict[str, Any]]:
    """What to put in the loop's config, and the trainer's arguments that go with it."""
    import ray

    if nodes == 1 or train.features.nbytes < STREAMED_BYTES:
        return ray.put((train, tune, len(train.targets))), {}
    from ray.train import DataConfig

    arguments = {
        "datasets": {TRAIN: as_dataset(train)},
        "dataset_config": DataConfig(datasets_to_split=[]),
    }
    return ray.put((None, tune, len(train.targets))), arguments


def worker_parts(reference: Any, rank: int, world: int) -> tuple[Part, Part | None, int | None]:
    """In a worker: rows to train on, those to validate on, and how many all workers train on if
    the first are this worker's own alone; a ``world`` of 1 keeps them all."""
    import ray
    import ray.train

    train, tune, rows = ray.get(reference)
    if train is not None:
        return train, tune, None
    own = collected(ray.train.get_dataset_shard(TRAIN), rank, world)
    return own, tune, None if world == 1 else rows


def as_dataset(part: Part) -> Any:
    """A Ray dataset of the rows, each with its ``place`` (int64) in ``part``."""
    import ray.data

    rows = len(part.targets)
    row_bytes = max(1, part.features.nbytes // max(rows, 1))
    step = max(1, BLOCK_BYTES // row_bytes)
    return ray.data.from_numpy_refs(
        [ray.put(np.arange(at, min(at + step, rows))) for at in range(0, rows, step)]
    ).map_batches(_Rows(ray.put(part)), batch_size=step)


class _Rows:
    """Looks the rows up in a part in the object store."""

    def __init__(self, reference: Any) -> None:
        self._reference = [reference]  # within a list, Ray leaves a reference alone

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        import ray

        part = ray.get(self._reference[0])
        places = batch["data"]
        return {
            PLACE: places,
            FEATURES: part.features[places],
            TARGET: part.targets[places],
        }


def collected(shard: Any, rank: int = 0, world: int = 1) -> Part:
    """One worker's rows of a stream, whose blocks come in any order, in the order of their
    places."""
    kept = []
    for batch in shard.iter_batches(batch_size=None, batch_format="numpy"):
        mine = batch[PLACE] % world == rank
        kept.append({name: values[mine] for name, values in batch.items()})
    order = np.argsort(np.concatenate([batch[PLACE] for batch in kept]), kind="stable")
    features = np.concatenate([batch[FEATURES] for batch in kept])[order]
    targets = np.concatenate([batch[TARGET] for batch in kept])[order]
    return Part(features, targets)
