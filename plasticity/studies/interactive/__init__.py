"""To try by hand: the playground (notebook 45) and a user's own images and network (notebook 46)."""
