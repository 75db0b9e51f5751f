"""Push rules as users and their clients have them."""
