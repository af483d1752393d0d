"""How sites learn together: the guard, the Flower apps, the rounds."""
