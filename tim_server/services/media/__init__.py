"""Files that users upload, and those of other servers that they look at."""
