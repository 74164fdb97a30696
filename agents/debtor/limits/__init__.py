"""The credit limit: policy, changes, holds."""
