"""What the method does before anything is learned, in sentences: the findings of notebook 05."""

import pandas as pd

from ...analysis.sentences import counted


def answer(table: pd.DataFrame, means: pd.DataFrame) -> list[str]:
    """From `on_a_network.movements` and `means_and_cuts`: is M pruning, and what do NS and N do to the outputs?"""
    move = (100 * table.groupby(["function", "percent"]).moved.mean()).unstack("function")
    below = counted(int(means.below.sum()), "weight tensor", len(means))
    most = move.index.max()
    return [
        f"M and MN hardly differ from pruning the smallest weights to zero: at {most}% they move the features by "
        f"{move.M[most]:.0f}% and {move.MN[most]:.0f}%, zero by {move.Z[most]:.0f}%, NS by {move.NS[most]:.0f}% and N "
        f"by {move.N[most]:.0f}%",
        f"The mean of {below} is itself among the smallest tenth, so that M puts weights about where they were",
    ]
