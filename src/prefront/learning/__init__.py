"""Networks, rollouts, advantages and losses: the pure functions that algorithms share."""
