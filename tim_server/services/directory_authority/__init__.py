"""An authority that runs a circle of trust: its members, their certificates, the directory that it signs.

It needs a folder and nothing else: no database, no homeserver. `found.py` makes the folder, `members.py`, `issue.py`
and `sign.py` are what an authority does, `publication.py` is what it shows to others. All is decided on the state as it
is read under the folder's lock, and written whole.
"""
