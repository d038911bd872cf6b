"""The architectures: the main paper's, the companion papers', their miniatures, and timm's by name. Imports nothing
else of the package. Begin with ``table``."""
