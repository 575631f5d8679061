"""The environment variables of the cache of shards (:mod:`nofrost.data.shards.shard_cache`), for pods and commands."""

FOLDER_VARIABLE = "NOFROST_DATA_CACHE"
SIZE_VARIABLE = "NOFROST_CACHE_SIZE"
