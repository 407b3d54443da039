"""What the tests of preemption and of clusters share."""
