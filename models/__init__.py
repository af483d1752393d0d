"""What is learned and how it is read: features, the additive scorer, training, explanation, releases."""
