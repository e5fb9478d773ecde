"""`facerec bench search` at the sizes of the figures in docs/decisions.

python benchmarks/search.py [options of facerec bench search]
"""

from __future__ import annotations

import sys

from facerec.cli import main

if __name__ == "__main__":
    sys.argv[1:] = ["bench", "search", "--faces", "100000,1000000", *sys.argv[1:]]
    main()
