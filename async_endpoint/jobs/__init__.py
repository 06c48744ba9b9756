"""The core: jobs, their registry, queue, events and store. Knows no HTTP and no Apify."""
