"""The Wisconsin diagnostic breast cancer data that scikit-learn packages: 569 rows, 30 numbers."""

import pandas as pd
from sklearn.datasets import load_breast_cancer


def load() -> pd.DataFrame:
    """Thirty measurements a tumour; ``diagnosis`` is benign or malignant."""
    data = load_breast_cancer(as_frame=True)
    frame = data.data.rename(columns=lambda name: name.replace(" ", "_"))
    return frame.assign(diagnosis=data.target.map(dict(enumerate(data.target_names))))
