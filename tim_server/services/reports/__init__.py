"""What users report to the administrators, and what becomes of it."""
