"""The demonstration: a file through the cluster while its leader is killed."""
