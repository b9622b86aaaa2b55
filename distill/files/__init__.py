"""Rows of any file or data set, read as problems and traces."""
