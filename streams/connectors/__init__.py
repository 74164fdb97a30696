"""Files in: what they hold becomes records for the source topics."""
