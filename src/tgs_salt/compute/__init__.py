"""Where a job computes: device, mixed precision, out-of-memory errors and the CPU environment."""
