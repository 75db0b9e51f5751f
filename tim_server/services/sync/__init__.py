"""What has changed for a user since a token: `/sync`."""
