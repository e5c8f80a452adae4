"""The HTTP faces: blueprints, schemas, errors."""
