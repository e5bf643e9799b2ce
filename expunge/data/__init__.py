"""Record tables and the loaders that make them."""

from expunge.data.record_table import RecordTable
from expunge.data.registry import LOADERS, load_records

__all__ = ["LOADERS", "RecordTable", "load_records"]
