"""What refuses, sees or mends: independent siblings that never import each other."""
