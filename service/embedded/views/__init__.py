"""The views of an index: search structures that follow the store's change log."""
