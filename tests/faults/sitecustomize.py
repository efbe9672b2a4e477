"""Python imports this by itself: so Spark's Python workers are watched too."""

import effects

effects.install()
