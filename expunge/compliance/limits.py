"""What no certificate and no report proves, in words that each of them carries."""

LIMITS = (
    "The source from which records are loaded is the controller's: Expunge refuses erased records there, it does not"
    " delete them.",
    "Copies, backups and models outside this project's stores were not looked for.",
    "The tests compare this one model with models retrained without the records; they have the power that is stated"
    " beside them, and no more.",
    "Checkpoints re-recorded after a rewind are kept as starts for later rewinds; they are never served and were not"
    " tested themselves.",
    "Deleting a file is Clear in the words of NIST SP 800-88 Rev. 2; storage media were not sanitised.",
)

REHEARSAL = "The clock was simulated: this is a rehearsal, and no answer to anybody."
