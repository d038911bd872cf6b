"""What the published numbers themselves can and cannot be (notebook 40): which test set sizes and runs give a printed
mean and deviation, whether a printed p follows, where text and tables contradict each other. Begin with ``rows``."""
