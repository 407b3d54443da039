"""What stands out in a run, in plain words and with its evidence."""
