"""Libraries shared by the services; none imports a service."""
