"""Guards across executions: who may begin (concurrency, rate), and what may be changed (budget, cool-down, breaker).

Nothing here is a counter that a crash could leave wrong: places are counted from executions that live, changes from
the action log, failures from executions that ended. What makes a decision atomic is a lock of the transaction that
makes it: a key's for who may begin and for a budget, the resource's own lock for cool-downs and breakers.

    admission  who begins at once, waits or is rejected, when executions are planned
    moves      who begins, and who gives way, in a queue: a pure judgement
    queue      lets those that wait begin, and aborts those that are replaced
    rate       how often
    changes    what a claim asks before a change: breaker, cool-down and budget, in this order
    endings    what the end of an execution brings: the queue is woken, a breaker opens
    views      who holds and who waits, as people see it
    outlook    what they would say to an execution that is only thought of
"""
