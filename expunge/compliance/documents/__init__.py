"""How does a file of requests become requests? Strictly: every field is checked, every fault is named, or nothing of
the file counts.

    read_documents("requests.csv", content, now=now)  ->  [Incoming, ...], or Refused with every fault

Formats: CSV (`csv_rows`), JSON lines (`json_lines`), OpenDSR 2.0 (`opendsr`). `resolve` finds what a request means in
a record table, `status` writes the OpenDSR answer. Bytes in, values out: no file, no database, no clock of its own.
"""

from expunge.compliance.documents.incoming import Fault, Incoming, Refused
from expunge.compliance.documents.read import FORMATS, format_of, read_documents, read_file
from expunge.compliance.documents.resolve import People, resolve
from expunge.compliance.documents.status import request_status, status_document

__all__ = [
    "FORMATS",
    "Fault",
    "Incoming",
    "People",
    "Refused",
    "format_of",
    "read_documents",
    "read_file",
    "request_status",
    "resolve",
    "status_document",
]
