"""What evaluates policies: in process, by OPA over HTTP, or both beside each other."""
