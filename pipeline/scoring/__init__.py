"""From trained networks to every number of a configuration."""
