"""An HTTP endpoint that runs jobs asynchronously, as an Apify Actor or on its own."""

__version__ = "0.1.0"
