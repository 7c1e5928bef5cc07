"""The laws that every attack keeps."""

from privagams.testing import conformance

test_mylab_nearest = conformance("mylab-nearest")
