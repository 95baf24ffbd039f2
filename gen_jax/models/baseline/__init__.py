"""What every other number is to be compared with: models that a lecture starts from."""
