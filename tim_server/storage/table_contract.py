"""What each table promises: who owns it, what bounds its growth, and who removes its rows.

Every storage module declares its tables in `TABLES`; a test compares the declarations with the migrated schema.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TableContract:
    """One table: `owner` is the service that writes it, `bound` what its size is proportional to, `reaper` what
    removes rows; `derived` says that `rebuild-derived` can make it anew from other tables."""

    name: str
    owner: str
    bound: str
    reaper: str
    derived: bool = False
