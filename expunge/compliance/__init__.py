"""Requests, deadlines, the ledger and the certificate. Import the submodules: each loads only what it needs."""
