"""The paths of the service, a module per family."""
