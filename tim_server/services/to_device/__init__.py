"""Messages to devices."""
