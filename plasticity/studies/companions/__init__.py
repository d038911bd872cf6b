"""The companion papers, Hare & Tortoise and Soft Weight Rescaling (notebooks 50 to 54): their runs, tables, figures and
claims. Begin with ``runs``."""
