"""Deletion of rooms by administrators: what is asked for, how it is carried out, and which rooms are blocked."""
