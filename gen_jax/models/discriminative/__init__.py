"""Models of the label of an example; distances between sets of images use their features."""
