"""Models of the label given the example, whose features distances are taken on."""
