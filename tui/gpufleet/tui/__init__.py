"""The fleet in a terminal: curses views over the shared client."""
