"""Measuring a cluster from a client: throughput, latency, failover."""
