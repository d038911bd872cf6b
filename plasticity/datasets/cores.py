"""How many cores this process may use."""

import os

import joblib

GRANTED = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE", "NCPUS", "NSLOTS", "LSB_DJOB_NUMPROC")  # Slurm, PBS, SGE, LSF


def usable_cores() -> int:
    """The least of the machine's cores, this process's affinity, its container's quota, and what a scheduler grants.

    A scheduler that pins nothing says its share only in a variable of the environment; one that is no number of at
    least 1 is passed over.
    """
    granted = [int(value) for name in GRANTED if (value := os.environ.get(name, "")).isdecimal() and int(value)]
    return min([joblib.cpu_count(), *granted])
