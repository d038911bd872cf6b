"""Hare & Tortoise in reinforcement learning (Lee et al. 2024, section 5.3; notebook 56): its runs, published numbers,
tables, figures and claims. Begin with ``runs``."""
