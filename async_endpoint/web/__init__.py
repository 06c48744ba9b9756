"""The HTTP face: parses and validates requests, asks the registry, writes answers."""
