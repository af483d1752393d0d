"""A Flower app whose exchanges are timed, with one ClientApp or another; `benchmarks.fleet_rig` makes it a bundle."""
