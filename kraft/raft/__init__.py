"""The consensus core of the Raft paper: pure, so that it runs the same in a broker and in a simulator."""
