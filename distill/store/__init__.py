"""The store: Parquet shards in folders that are named by what made them, here or on a remote file system.

It knows records and their schema, and nothing of what a stage does. `shards`, `checked`, `schema` and
`catalogue` bring Arrow with them: they are modules of their own, so that naming a folder stays light.
"""

from distill.store.folders import Folder, Missing, locked, set_aside, write_record
from distill.store.keys import Busy, Damaged, NotMade, StoreError, digest, fingerprint, model_identity, slug
from distill.store.paths import exists, list_shards, read_text, remove, write_text

__all__ = [
    "Busy",
    "Damaged",
    "Folder",
    "Missing",
    "NotMade",
    "StoreError",
    "catalogue",
    "checked",
    "digest",
    "exists",
    "fingerprint",
    "folders",
    "keys",
    "list_shards",
    "locked",
    "model_identity",
    "paths",
    "read_text",
    "remove",
    "schema",
    "set_aside",
    "shards",
    "slug",
    "write_record",
    "write_text",
]
