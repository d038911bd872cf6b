"""The method itself, read along with section 3 of Coetzer et al. 2026 (notebook 05): by hand on one small tensor, then
on a real network. Nothing is trained. Begin with ``by_hand``."""
