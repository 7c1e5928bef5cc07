"""What people and programs read of a run: two pages and two JSON files, one pair private, one public."""
