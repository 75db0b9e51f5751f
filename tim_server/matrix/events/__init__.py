"""Events: the record, formats, hashes, signatures, redaction, building."""
