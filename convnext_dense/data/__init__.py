"""Data sets: generated, downloaded and verified. Importing this loads nothing."""
