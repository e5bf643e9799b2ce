"""scikit-learn's handwritten digits: 1,797 real 8x8 images that ship with the dependency."""

from __future__ import annotations

from typing import Any

import numpy as np

from expunge.data.record_table import RecordTable, content_ids, make_table, simulated_subjects


def load_digits(records_per_subject: float = 2.0) -> RecordTable:
    """Digits with ids from their content. The data names no writers: owners are simulated, by a hash of the id."""
    from sklearn import datasets

    bunch: Any = datasets.load_digits()
    pixels = (bunch.data / 16.0).astype(np.float32)
    ids = content_ids("digit", bunch.data.astype(np.uint8), bunch.target)
    return make_table(
        features=pixels,
        targets=bunch.target,
        record_ids=ids,
        subject_ids=simulated_subjects(ids, records_per_subject),
        classes=10,
        name="digits",
        source={"name": "digits", "options": {"records_per_subject": records_per_subject}},
        class_names=[str(d) for d in range(10)],
        image_shape=(8, 8),
    )
