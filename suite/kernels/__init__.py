"""CPU kernels that give torch's values, with faster derivatives."""
