"""The embedded stack: servers from wheels, provisioning, migrations and the supervisor behind `rangerctl up`."""
