"""The Apify API v2 view: jobs as Actor runs, task types as Actors, presets as Actor tasks."""
