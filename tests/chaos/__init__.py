"""The proof that nothing accepted is lost and nothing is done twice: a whole stack, and everything that can go wrong.

The stack is real: two processes of the orchestrator's API, three Celery workers, beat, two caption services and a video
question service, on PostgreSQL, Redis and an S3 server. Only the models are scripted (`models`): they know the right
answer of every question (`questions`), and note every call with the process that made it.

While tenants submit jobs, `faults` does to it, in an order that a seed decides:

- SIGKILL of any process of ours, which is started again a moment later, as Kubernetes does;
- a restart or a crash of PostgreSQL, a restart of Redis, FLUSHALL;
- S3 answers 503, says that it is full, hangs up before or after it has done what was asked, or sends half a body;
- models answer 500 or 429, hang, break off, send garbage or say nothing that can be used;
- the disk of PostgreSQL, a tmpfs that root may mount, fills up.

When all jobs have ended, `audit` looks from the outside: every accepted job ended and every answer is the right one; no
model was asked again for a round that was finished; every call that a model answered is recorded once, but for those of
a process that was killed before it could tell; no lease, upload, lock or temporary file is left.

    python -m tests.chaos --seed 7 --episodes 500
"""
