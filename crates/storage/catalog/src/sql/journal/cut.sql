DELETE FROM journal WHERE seq <= ?1
