"""What the method does before anything is learned, in sentences: the findings of notebook 05."""

import pandas as pd


def answer(moved: pd.DataFrame, means: pd.DataFrame) -> list[str]:
    """From `on_a_network.shown_movements` and `shown_means`: is M pruning, and what do NS and N do to the outputs?"""
    most = moved.columns[-1]
    by = moved.set_index("RF")[most]
    return [
        f"M and MN hardly differ from pruning the smallest weights to zero: at {most} they move the features by "
        f"{by.M}% and {by.MN}%, zero by {by.Z}%, NS by {by.NS}% and N by {by.N}%",
        f"In {means.iloc[-1, -1]} weight tensors the mean is itself among the smallest tenth, so that M puts weights "
        "about where they were",
    ]
