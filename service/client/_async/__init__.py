"""The async client. `service/client/_sync` is generated from it by `make generated`."""
