"""The laws, one module for each role. Each check's docstring states its law and what to do if it fails."""
