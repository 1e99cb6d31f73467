#!/usr/bin/env bash
# One seed, one version of torch, one machine: torch.randn in single precision depends on the instructions that are used.
#
# torch 2.14.1, CPU. `torch.randn(1000, generator=...)` fills float32 tensors by a Box-Muller transform with vector
# instructions where the processor has AVX2, and by another code where it has not (`ATEN_CPU_CAPABILITY=default` takes
# that one). The uniform numbers beneath are equal, the normal ones are not: 364 of 1,000 differ, by up to 1.1e-6.
# float64 `randn`, `rand`, and float32 `randn` of fewer than 16 numbers are equal to the bit.
# Seen: float32 364 differ, by up to 1.1e-06; float64 0, uniform 0, fifteen numbers 0.
#
# Who meets it: synthetic data and initial weights "of seed 0" that are drawn in single precision are not the same bits on
# every processor, so neither are hashes of them, nor where a chaotic training run ends. To keep bits, draw in double
# precision and round. Needs a processor with AVX2.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q 'torch==2.14.1' 'numpy==2.4.6'
cat > "$folder/draw.py" <<'PYTHON'
import sys

import torch


def generator():
    return torch.Generator().manual_seed(1)


torch.save(
    {
        "capability": torch.backends.cpu.get_cpu_capability(),
        "float32": torch.randn(1000, generator=generator()),
        "float64": torch.randn(1000, generator=generator(), dtype=torch.float64),
        "uniform": torch.rand(1000, generator=generator()),
        "fifteen numbers": torch.randn(15, generator=generator()),
    },
    sys.argv[1],
)
PYTHON
for capability in default avx2; do
    ATEN_CPU_CAPABILITY=$capability "$folder/venv/bin/python" "$folder/draw.py" "$folder/$capability.pt"
done
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys

import torch

plain, vector = (torch.load(f"{sys.argv[1]}/{name}.pt") for name in ("default", "avx2"))
assert (plain.pop("capability"), vector.pop("capability")) == ("DEFAULT", "AVX2"), "this processor has no AVX2"
counts = {name: int((plain[name] != vector[name]).sum()) for name in plain}
most = float((plain["float32"] - vector["float32"]).abs().max())
others = ", ".join(f"{name} {count}" for name, count in counts.items() if name != "float32")
print(f"float32 {counts['float32']} differ, by up to {most:.1e}; {others}.")
assert counts.pop("float32") > 100, "single precision draws the same numbers now"
assert not any(counts.values()), "other draws differ too"
assert 1e-8 < most < 1e-5, "the difference is of another size"
PYTHON
