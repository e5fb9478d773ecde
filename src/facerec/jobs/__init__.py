"""Work that is done later, and by whoever has time: a queue of jobs, in the database or in SQS."""
