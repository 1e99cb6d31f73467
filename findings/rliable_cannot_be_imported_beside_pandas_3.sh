#!/usr/bin/env bash
# rliable, as pip installs it into a new environment, cannot be imported: its statistics are out of reach, its metrics are not.
#
# rliable 1.2.0 with arch 7.2.0 (rliable asks for arch<8.0) and pandas 3.1.1 (rliable and arch ask for no less than old
# versions), Python 3.11. `rliable.library`, which has the stratified bootstrap intervals, imports `arch`; arch 7.2.0
# calls a decorator of pandas that takes one argument more since pandas 3.
# Seen: `from rliable import library` raises "TypeError: deprecate_kwarg() missing 1 required positional argument:
# 'new_arg_name'" out of arch/univariate; `import rliable.metrics` works; with pandas 2.3.3 both work.
#
# Who meets it: everyone who recomputes interquartile means with their intervals today; the remedy is pandas<3 beside rliable.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip=("$folder/venv/bin/pip" install -q)
python="$folder/venv/bin/python"
"${pip[@]}" 'rliable==1.2.0' 'arch==7.2.0' 'pandas==3.1.1' 'numpy==2.4.6'
"$python" -c 'import rliable.metrics; print("with pandas 3.1.1: rliable.metrics is imported")'
"$python" - <<'PYTHON'
try:
    from rliable import library
except TypeError as error:
    print("with pandas 3.1.1: rliable.library raises TypeError:", error)
    assert "deprecate_kwarg" in str(error)
else:
    raise SystemExit(f"{library.__name__} is imported beside pandas 3 now")
PYTHON
"${pip[@]}" 'pandas==2.3.3'
"$python" - <<'PYTHON'
import numpy as np
from rliable import library, metrics

scores = {"a": np.arange(12.0).reshape(3, 4)}
point, _ = library.get_interval_estimates(scores, lambda x: np.array([metrics.aggregate_iqm(x)]), reps=50)
print("with pandas 2.3.3: rliable.library gives an interquartile mean of", point["a"][0])
PYTHON
