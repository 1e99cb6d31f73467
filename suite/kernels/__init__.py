"""CPU kernels that return torch's values with faster derivatives, and the allocator's setting.

Import from the modules: `malloc` needs no torch.
"""
