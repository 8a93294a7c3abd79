"""Who runs on the GPUs: users, programs, containers, pods and jobs."""
