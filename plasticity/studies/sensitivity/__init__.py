"""What the effect of 10M depends on: one setting altered at a time (notebook 42). Begin with ``runs``."""
