"""What the training loop calls: batches, augmentation, optimisers, scenarios (phases and label noise), the plasticity
metrics, and the catalogue of data sets. Imports nothing else of the package. Begin with ``scenarios``, which says what
a run trains on."""
