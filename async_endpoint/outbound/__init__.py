"""Everything that leaves: the guard, the client session, requests, webhook deliveries."""
