"""What each command of ``plasticity`` does, one module per command; ``plasticity.__main__`` lists them. A module's
docstring is the command's help; ``arguments(parser)`` declares its arguments, ``main(options)`` does the work and
returns the exit code (None for 0). May import everything, and imports it late, so that ``plasticity status`` answers at
once."""
