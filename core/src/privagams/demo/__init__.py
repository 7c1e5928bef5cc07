"""A made-up cohort with known truth, for the demo, for tests and for labs that develop attacks."""
