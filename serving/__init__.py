"""What people see, decide and do: the BentoML service, recommendations, explanations, decisions."""

import os

# Read by bentoml when it first looks; this module comes before any import of bentoml here.
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
