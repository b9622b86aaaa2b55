"""The store: Parquet shards in folders that are named by what made them, here or on a remote file system.

It knows records and their schema, and nothing of what a stage does. `shards`, `checked`, `schema` and
`catalogue` bring Arrow with them: they are modules of their own, so that naming a folder stays light.
"""

from distill.store.folders import Folder, locked, set_aside, write_record
from distill.store.keys import Busy, Damaged, NotMade, StoreError, digest, fingerprint, slug
from distill.store.paths import exists, list_shards, read_text, remove, write_text

__all__ = [
    "Busy",
    "Damaged",
    "Folder",
    "NotMade",
    "StoreError",
    "catalogue",
    "checked",
    "digest",
    "exists",
    "fingerprint",
    "list_shards",
    "locked",
    "read_text",
    "remove",
    "schema",
    "set_aside",
    "shards",
    "slug",
    "write_record",
    "write_text",
]
