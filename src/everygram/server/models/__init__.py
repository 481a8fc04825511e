"""What the service is sent and what it answers."""
