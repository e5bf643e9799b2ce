"""A scripted week of compliance operations: `expunge demo --week`.

cast (whose records) -> story (what happens when) -> play (the real `expunge`, process by process) -> check (was every
request answered as it should be?).
"""
