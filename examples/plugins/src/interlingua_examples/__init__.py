"""Components for Interlingua, written from outside."""
