"""Parquet shards in folders that are named by what made them, on this machine or on a remote file system."""
