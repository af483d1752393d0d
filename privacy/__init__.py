"""What a run costs its people, and the proof of it: plans, noise, accounting, ledger, signatures, verifier."""
