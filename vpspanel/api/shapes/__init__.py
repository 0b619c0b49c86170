"""Objects as the API shows them. Their types are the contract: mypy holds the functions to it."""
