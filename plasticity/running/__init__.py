"""Many runs: worker processes or a Dask cluster, records, states of runs in progress, pretraining. May import ``train``
and ``datasets``, never ``analysis`` or ``studies``. Begin with ``engine``."""
