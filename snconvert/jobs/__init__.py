"""What runs inside the guarded process: norms, effective kernels, comparisons."""
