"""The blocking client. Generated from `_async` by `make generated`; do not edit."""
