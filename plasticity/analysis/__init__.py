"""From records to conclusions: data frames, paired differences with intervals, verdicts, power, the paper's tables,
figures. Pure functions of data frames. May import ``running`` (records), ``run`` and ``networks``. Begin with
``frames``, then ``paired``."""
