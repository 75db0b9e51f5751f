"""Keys of devices and users: publishing, reading, claiming and signing them."""
