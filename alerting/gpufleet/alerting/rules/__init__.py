"""Alert rules: the file, its expressions, and how they are evaluated over a fleet."""
