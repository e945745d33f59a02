"""What is known of single operations: what autograd recorded of them, and forms that are fast to differentiate."""
