"""`make reconcile`: source, lake and warehouse of this machine's runs, compared row by row."""

import sys

from local.run import front_end, reconcile

if __name__ == "__main__":
    sys.exit(front_end(reconcile))
