"""Mutation testing of the C sources: see tools/mutate.py."""
