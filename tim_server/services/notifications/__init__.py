"""What users have not read yet: counts of notifications, and the list of them."""
