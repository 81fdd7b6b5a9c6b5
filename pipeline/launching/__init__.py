"""What running a study's cells side by side knows: processes, the order of the work, what is cached, what is seen."""
