"""What each command of ``plasticity`` does, one module per command; ``plasticity.__main__`` lists them. May import
everything, and imports it late, so that ``plasticity status`` answers at once."""
