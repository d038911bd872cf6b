"""Raw or generated images become packed arrays: the miniature world, the papers' data sets, a user's own folder. May
import ``data`` and ``files``; nothing that trains imports this room. Begin with ``prepare``."""
