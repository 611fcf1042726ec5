"""Parts of the multiplication: what a task draws, the motion to carry, the copies' plans, their play, and what is learnt."""
