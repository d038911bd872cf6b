"""Every method that acts on a network around its training, by name: averages (EMA, Hare & Tortoise), penalties, soft
rescaling, resets, selective resets of weights and units. May import ``interventions``, ``reinit``, ``networks`` and
``training``. Begin with ``registry``, which lists the names and reads "10M + soft_rescaling"."""
