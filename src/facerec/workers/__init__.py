"""What does jobs: the loop that leases them, the handlers of each kind, and the way to many machines."""
