"""The 1,797 scanned digits that scikit-learn packages: 8 × 8 pixels of 0 to 16."""

import pandas as pd
from sklearn.datasets import load_digits


def load() -> pd.DataFrame:
    """Sixty-four pixels an image; ``digit`` is 0 to 9."""
    data = load_digits(as_frame=True)
    return data.data.assign(digit=data.target)
