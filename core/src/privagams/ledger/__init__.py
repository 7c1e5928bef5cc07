"""The account of all privacy spent on a data set: what is written, what it means, what it costs."""
