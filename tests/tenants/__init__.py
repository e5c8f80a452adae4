"""Every caller against every route: who may do what, and who sees what."""
