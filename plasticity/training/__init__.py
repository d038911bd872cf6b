"""What the training loop calls: batches, augmentation, optimisers, scenarios (phases and label noise), and the
plasticity metrics. Imports nothing else of the package. Begin with ``scenarios``, which says what a run trains on."""
