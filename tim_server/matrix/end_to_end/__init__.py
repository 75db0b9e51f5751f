"""End-to-end encryption as far as a server takes part in it: the form of keys, and who has signed them."""
