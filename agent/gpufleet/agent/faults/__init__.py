"""What goes wrong with GPUs, as events: subjects that cannot be read, and the driver's faults."""
