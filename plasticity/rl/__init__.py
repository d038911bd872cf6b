"""Reinforcement learning: games, the replay, agents, and the second loop. May import the core. Begin with ``online``,
whose ``fit`` stands beside `train.fit`. The games come with packages of the extra ``rl``, imported where needed."""
