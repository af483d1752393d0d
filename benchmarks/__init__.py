"""What Kith costs in time and memory, and what it gives, each beside a peer measured in the same run."""

import os

# As in kith.py: nothing that is started here reports to anybody.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
