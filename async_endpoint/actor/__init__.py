"""Everything that touches Apify: the run's input, dataset, replica, charges and life."""
