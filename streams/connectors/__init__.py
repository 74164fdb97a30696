"""Files and registries in: what they hold becomes records for the source topics."""
