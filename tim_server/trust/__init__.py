"""Trust rules, pure: directory formats, certificate and signature checks, verdicts."""
