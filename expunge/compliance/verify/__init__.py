"""Is this erasure certificate what was signed, and do the model and the ledger still match it?

Stand-alone: this folder needs Python 3.11 and the package `cryptography`, nothing else of the program that wrote the
certificate. Copy it anywhere and run `python -m verify CERTIFICATE`, or `python verify CERTIFICATE`.
"""

from .check import Check, Verification, verify_certificate
from .everything import Everything, verify_everything

__all__ = ["Check", "Everything", "Verification", "verify_certificate", "verify_everything"]
