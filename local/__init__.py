"""The laptop's stand-ins for what the project meets on AWS."""
