"""What each path of the service answers."""
