SELECT previous FROM journal WHERE seq = ?1
