"""What a person types, each reached as ``medmatrix NAME``."""
