"""Other homeservers as such: whether a request is theirs, and the keys that they are given."""
