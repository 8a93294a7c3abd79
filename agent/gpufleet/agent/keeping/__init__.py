"""What is taken stays until the hub has it: numbered, journalled, in memory and on disk."""
