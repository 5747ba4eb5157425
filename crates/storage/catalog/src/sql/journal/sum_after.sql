SELECT count(*), coalesce(sum(length(changes)), 0), min(at) FROM journal WHERE seq > ?1
