"""How nodes talk to each other: the seam, and gRPC behind it."""
