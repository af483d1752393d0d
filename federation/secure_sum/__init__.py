"""Sites add up under masks, and only their sum is seen (Bonawitz et al. 2017). docs/secure-sum.md says why."""
