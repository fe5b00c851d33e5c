"""What generating episodes costs, and that a large set needs no more memory than a small one."""
