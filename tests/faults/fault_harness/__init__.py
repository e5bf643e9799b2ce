"""Kill the real deletion loop at any point, start it again, and judge what is left without trusting it."""
