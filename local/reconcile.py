"""`make reconcile`: source, lake and warehouse of this machine's runs, compared row by row."""

import sys

from local.run import command, reconcile

if __name__ == "__main__":
    sys.exit(command(reconcile))
