"""A real Flower deployment: keys, files, processes, the front proxy, and what a party's operators install."""
