"""What people and programs read of a run: report.html and .json for the steward, public.html and .json for all."""
