"""Rows of results, as the package writes them (``worldmodel.runtime.records``)."""

from worldmodel.runtime.records import append_row, plain, write_arrays

__all__ = ["append_row", "plain", "write_arrays"]
