"""How far to trust the audit of a table: simulated tables of known runs, audited as the paper's are.

    python benchmarks/audit_power.py [tables] [rows]

Prints the Markdown tables of reference/audit_power.md: ``tables`` simulated tables per setting, ``rows`` simulated rows
per number of runs.
"""

import sys
import time

import numpy as np
import pandas as pd

from plasticity.running import provenance
from plasticity.studies.audit import simulation as audit_simulation

SETTINGS = (  # keyword arguments of audit_simulation.simulate
    {"sizes": (250, 500, 1128, 1250, 1431, 2250, 3000)},
    {"sizes": (1250,), "runs": [5]},
    {"sizes": (1250,), "runs": [10]},
    {"sizes": (1128, 1250, 1431), "missing": 1},
    {"sizes": (1128, 1431), "spoil": "float32"},
    {"sizes": (1128, 1250, 1431), "spoil": "rounded"},
    {"sizes": (1128, 1250, 1431), "spoil": "batches"},
)


def markdown(table: pd.DataFrame) -> str:
    """A DataFrame of strings as GitHub's table."""
    lines = [table.columns, ["---"] * table.shape[1], *table.astype(str).to_numpy()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def main(tables: int = 200, rows: int = 1000):
    """All settings, from one seed each."""
    started, simulated = time.perf_counter(), []
    for seed, setting in enumerate(SETTINGS):
        simulated.append(audit_simulation.simulate(np.random.default_rng(seed), tables, **setting))
    print(markdown(audit_simulation.summary(pd.concat(simulated))))
    print(markdown(audit_simulation.claims(np.random.default_rng(100), rows)))
    print(f"{time.perf_counter() - started:.0f} s; {provenance.machine()}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
