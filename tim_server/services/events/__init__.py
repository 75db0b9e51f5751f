"""Events as readers get them: who may see which, and the form in which clients read them."""
